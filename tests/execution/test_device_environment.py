"""The models and samples of a device: one model for each size, and the parts of a client's data in order."""

import pytest
import torch

from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from tests.support.runs import prepared

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """The perceptron 64-200-100-10; HeteroFL needs its units, and clients keep a tenth of their data to validate."""
    return prepared("algorithm.name=heterofl", "data.validation_fraction=0.1")


def _sizes(experiment: Experiment, share: float) -> dict[str, int]:
    return {group.name: max(1, int(share * group.num_units)) for group in experiment.setting.units}


class TestSubmodel:
    """Smaller models, one for each size."""

    def test_submodel_has_the_kept_units(self, experiment: Experiment) -> None:
        """With half of the units the layers are 64-100, 100-50 and 50-10."""
        environment = DeviceEnvironment(experiment, CPU)
        smaller = environment.submodel(_sizes(experiment, 0.5))
        layers = [m for m in smaller.module.modules() if isinstance(m, torch.nn.Linear)]
        assert [(m.in_features, m.out_features) for m in layers] == [(64, 100), (100, 50), (50, 10)]
        assert environment.full.layout.size == 64 * 200 + 200 + 200 * 100 + 100 + 100 * 10 + 10

    def test_last_eight_sizes_stay_in_memory(self, experiment: Experiment) -> None:
        environment = DeviceEnvironment(experiment, CPU)
        sizes = [_sizes(experiment, share) for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
        models = [environment.submodel(size) for size in sizes[:8]]
        assert environment.submodel(sizes[0]) is models[0], "the same size is the same model"
        environment.submodel(sizes[8])
        assert environment.submodel(sizes[0]) is models[0], "size 0 was used after size 1"
        assert environment.submodel(sizes[1]) is not models[1], "size 1 was used least recently"

    def test_order_of_the_groups_does_not_matter(self, experiment: Experiment) -> None:
        environment = DeviceEnvironment(experiment, CPU)
        size = _sizes(experiment, 0.5)
        assert environment.submodel(size) is environment.submodel(dict(reversed(size.items())))


class TestData:
    """The parts of a client's data."""

    def test_batches_are_the_rows_of_the_partition(self, experiment: Experiment) -> None:
        environment, dataset = DeviceEnvironment(experiment, CPU), experiment.dataset
        parts = experiment.partition
        for k in range(6):
            images, labels = environment.test_batch(k)
            assert torch.equal(images, dataset.to_tensor(dataset.test_inputs[parts.test[k]]))
            assert labels.tolist() == dataset.test_labels[parts.test[k]].tolist()
            _, labels = environment.validation_batch(k)
            assert labels.tolist() == dataset.train_labels[parts.validation[k]].tolist()
            assert len(environment.training_data(k)) == len(parts.train[k])

    def test_central_test_batch_has_all_test_samples(self, experiment: Experiment) -> None:
        images, labels = DeviceEnvironment(experiment, CPU).test_batch()
        assert (tuple(images.shape), len(labels)) == ((359, 1, 8, 8), 359)
        assert labels.tolist() == experiment.dataset.test_labels.tolist()

    def test_labels_are_a_copy(self, experiment: Experiment) -> None:
        """Arrays in Ray's object store are read-only, and other processes read them too."""
        _, labels = DeviceEnvironment(experiment, CPU).test_batch()
        before = experiment.dataset.test_labels.copy()
        labels += 1
        assert (experiment.dataset.test_labels == before).all()
