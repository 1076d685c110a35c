"""How an epoch's samples are divided into mini-batches."""

from orchestrator.config.training import TrainingConfig


def batch_sizes(num_samples: int, training: TrainingConfig, smallest: int) -> list[int]:
    """Samples in each mini-batch of an epoch, in order.

    The model cannot be trained on fewer than `smallest` samples, so a smaller last batch is merged into the batch
    before. `drop_last` leaves out a last batch that is smaller than the others. A client's only batch is always used.
    """
    size = training.batch_size
    num_full, rest = divmod(num_samples, size)
    sizes = [size] * num_full
    if not sizes:
        return [rest]
    if rest and not training.drop_last:
        if rest < smallest:
            sizes[-1] += rest
        else:
            sizes.append(rest)
    return sizes
