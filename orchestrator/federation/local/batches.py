"""How an epoch's samples are divided into mini-batches."""

from orchestrator.config.sections import TrainingConfig


def batch_sizes(num_samples: int, training: TrainingConfig, smallest: int) -> list[int]:
    """Samples in each mini-batch of an epoch, in order.

    A last batch of fewer than `smallest` samples, on which the model cannot be trained, is merged into the one
    before. With `drop_last` a last batch smaller than the others is left out. A client's only batch always stays.
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
