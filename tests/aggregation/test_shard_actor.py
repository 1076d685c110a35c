"""The actor keeps one experiment and slice, and adds the same as a shard in this process."""

from typing import Any

from orchestrator.aggregation.shard import FoldKey, Shard
from orchestrator.aggregation.shard_actor import ShardActor, ShardTask
from orchestrator.aggregation.slices import SliceNumber
from orchestrator.aggregation.sums import Term
from orchestrator.contract.rounds import play
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import PayloadReport
from tests.support.fakes import experiment
from tests.support.shards import encoded_updates

KEY = FoldKey(0, 0, 0)


class FakeShared:
    """An experiment in the object store, which counts how often an actor loads it."""

    def __init__(self, recipe: str, made: Experiment) -> None:
        self.recipe, self.made, self.num_loaded = recipe, made, 0

    def get(self) -> Experiment:
        self.num_loaded += 1
        return self.made


def test_actor_adds_the_slices_of_its_task() -> None:
    made = experiment({"algorithm.name": "feddst"})
    shared: Any = FakeShared("recipe", made)
    own = SliceNumber(1, 2)
    task, actor, shard = ShardTask(shared, own), ShardActor(), Shard(made, own)
    for place, encoded in enumerate(encoded_updates(play(made, 1)[-1])):
        term = Term(client_id=place, weight=1.0 + place, staleness=0)
        report = actor.check(task, encoded.broadcast, encoded.request, encoded.payload)
        assert report == PayloadReport(upload_bytes=encoded.payload.nbytes, has_model=True)
        actor.add(task, KEY, place, encoded.broadcast, encoded.request, encoded.payload, term, None)
        shard.add(KEY, place, encoded, term, None)
    server = made.initial[slice(*own.bounds(made.initial.size))]
    found, expected = actor.finish(task, KEY, 3, server), shard.finish(KEY, 3, server)
    assert found is not None
    assert expected is not None
    assert found.values.tobytes() == expected.values.tobytes()
    assert shared.num_loaded == 1


def test_actor_loads_another_experiment_or_slice_when_a_task_names_it() -> None:
    made = experiment({"algorithm.name": "fedavg"})
    first: Any = FakeShared("first", made)
    second: Any = FakeShared("second", made)
    (encoded, *_), actor = encoded_updates(play(made, 1)[-1]), ShardActor()
    for shared, own in ((first, SliceNumber(0, 2)), (first, SliceNumber(1, 2)), (second, SliceNumber(1, 2))):
        actor.check(ShardTask(shared, own), encoded.broadcast, encoded.request, encoded.payload)
    assert (first.num_loaded, second.num_loaded) == (2, 1)
