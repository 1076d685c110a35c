"""Which tasks form a bundle, and what the user reads about it."""

from dataclasses import replace

import pytest

from orchestrator.execution.bundles.plan import BundlePlan
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask, TaskKind
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles
from tests.support.runs import prepared

EQUAL = "data.partition.kind=iid"


def _on_cpu(share: float) -> bool:
    return False


def _tasks(*client_ids: int, kind: TaskKind = "train") -> list[ClientTask]:
    return [
        ClientTask(round_idx=0, position=place, client_id=client_id, kind=kind)
        for place, client_id in enumerate(client_ids)
    ]


def _bundles(experiment: Experiment, tasks: list[ClientTask], *, num_actors: int = 1) -> list[list[int]]:
    return BundlePlan(experiment, uses_gpu=_on_cpu).bundles(tasks, lambda profile: num_actors)


def test_auto_never_bundles_on_a_cpu() -> None:
    plan = BundlePlan(prepared(EQUAL), uses_gpu=_on_cpu)
    assert plan.note == ""
    assert plan.bundles(_tasks(0, 1, 2), lambda profile: 1) == [[0], [1], [2]]
    assert InProcessExecutor(prepared(EQUAL)).description == "in-process, one client after another"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, [[0], [1], [2], [3], [4]]),
        (2, [[0, 1], [2, 3], [4]]),
        (4, [[0, 1, 2, 3], [4]]),
        (9, [[0, 1, 2, 3, 4]]),
    ],
)
def test_configured_number_is_the_size_of_bundles(size: int, expected: list[list[int]]) -> None:
    assert _bundles(prepared(EQUAL, f"runtime.cohort={size}"), _tasks(5, 4, 3, 2, 1)) == expected


def test_configured_number_makes_the_same_bundles_for_any_number_of_actors() -> None:
    experiment, tasks = prepared(EQUAL, "runtime.cohort=4"), _tasks(0, 1, 2, 3, 4, 5)
    assert _bundles(experiment, tasks, num_actors=3) == _bundles(experiment, tasks) == [[0, 1, 2, 3], [4, 5]]


def test_clients_with_other_batches_are_in_other_bundles() -> None:
    """Each client trains on all of its samples in one batch, so that the number of samples decides."""
    experiment = prepared("data.partition.alpha=0.5", "runtime.cohort=6", "training.batch_size=2000")
    sizes = experiment.partition.train.sizes()
    bundles = _bundles(experiment, _tasks(*range(6)))
    assert all(len({int(sizes[place]) for place in bundle}) == 1 for bundle in bundles)
    note = BundlePlan(experiment, uses_gpu=_on_cpu).note
    kinds = len(set(sizes.tolist()))
    assert (
        note == f"; up to 6 clients train together, of those with equal batches (the fleet has {kinds} kinds)"
    )


def test_dropped_last_batches_make_batches_equal() -> None:
    """Only whole batches count. Each client has its number of samples divided by 100 batches."""
    experiment = prepared(EQUAL, "runtime.cohort=6", "training.batch_size=50", "training.drop_last=true")
    assert _bundles(experiment, _tasks(*range(6))) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("kind", ["probe", "loss", "evaluate", "finetune"])
def test_only_training_tasks_are_bundled(kind: TaskKind) -> None:
    assert _bundles(prepared(EQUAL, "runtime.cohort=4"), _tasks(0, 1, kind=kind)) == [[0], [1]]


def test_task_that_failed_before_runs_alone() -> None:
    tasks = _tasks(0, 1, 2)
    tasks[1] = replace(tasks[1], attempt=1)
    assert _bundles(prepared(EQUAL, "runtime.cohort=4"), tasks) == [[0, 2], [1]]


def test_profiles_are_not_mixed() -> None:
    profiles = (replace(DEVICE, name="a"), replace(DEVICE, name="b"))
    experiment = with_profiles(prepared(EQUAL, "runtime.cohort=6"), profiles)
    setting = experiment.setting
    bundles = _bundles(experiment, _tasks(*range(6)))
    assert sorted(place for bundle in bundles for place in bundle) == list(range(6))
    assert len(bundles) == len(setting.population.profile_counts())
    for bundle in bundles:
        assert len({setting.profile_index(client_id, 0) for client_id in bundle}) == 1


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("algorithm.name=scaffold",), "scaffold has its own hook grad_hook"),
        (("model.name=tests.support.models:normalised",), "the model has statistics (2.running_mean)"),
        (("asynchrony.kind=fedasync",), "asynchrony.kind=fedasync starts clients one by one"),
    ],
)
def test_note_names_the_reason_for_single_training(overrides: tuple[str, ...], reason: str) -> None:
    plan = BundlePlan(prepared(EQUAL, "runtime.cohort=4", *overrides), uses_gpu=_on_cpu)
    assert plan.note == f"; clients train one by one, without runtime.cohort ({reason})"
    assert plan.bundles(_tasks(0, 1), lambda profile: 1) == [[0], [1]]


def test_reason_of_the_executor_comes_first() -> None:
    experiment = prepared(EQUAL, "runtime.cohort=4", "algorithm.name=scaffold")
    plan = BundlePlan(experiment, uses_gpu=_on_cpu, obstacle="no pool")
    assert plan.note == "; clients train one by one, without runtime.cohort (no pool)"


class TestAutoOnGpu:
    """`auto` for clients that may train on a GPU. The plan needs no GPU itself."""

    def _plan(self, *overrides: str, num_gpus: float = 1.0) -> BundlePlan:
        gpu = replace(DEVICE, name="gpu", num_gpus=num_gpus)
        experiment = with_profiles(prepared(EQUAL, *overrides), [gpu])
        return BundlePlan(experiment, uses_gpu=lambda share: share > 0)

    def test_small_models_reach_the_largest_number(self) -> None:
        assert self._plan().note == "; up to 64 clients train together"

    def test_number_is_what_fits_into_the_actors_share(self) -> None:
        """A model of 34,000 values and few activations takes about 0.4 MB; a 2000th of 4 GiB is 2.1 MB."""
        plan = self._plan(num_gpus=1 / 2000)
        size = max(len(bundle) for bundle in plan.bundles(_tasks(*range(6)), lambda profile: 1))
        assert 1 < size < 6

    def test_clients_are_divided_over_all_actors(self) -> None:
        bundles = self._plan().bundles(_tasks(*range(6)), lambda profile: 2)
        assert bundles == [[0, 1, 2], [3, 4, 5]]

    def test_profiles_without_gpu_train_one_by_one(self) -> None:
        profiles = (replace(DEVICE, name="gpu", num_gpus=1.0), replace(DEVICE, name="cpu"))
        experiment = with_profiles(prepared(EQUAL), profiles)
        plan = BundlePlan(experiment, uses_gpu=lambda share: share > 0)
        for bundle in plan.bundles(_tasks(*range(6)), lambda profile: 1):
            on_gpu = [experiment.setting.profile_of(client_id, 0).num_gpus > 0 for client_id in bundle]
            assert all(on_gpu) or len(bundle) == 1
