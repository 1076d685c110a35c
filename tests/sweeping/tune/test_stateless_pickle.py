"""Callbacks and searchers pickle as empty objects."""

from orchestrator.sweeping.tune.callback import SweepStopper
from orchestrator.sweeping.tune.stateless_pickle import StatelessPickle


def test_callbacks_pickle_as_empty_objects() -> None:
    class Mine(StatelessPickle):
        def __init__(self) -> None:
            self.large = [0] * 100

    assert Mine().__getstate__() == {}
    assert SweepStopper().__getstate__() == {}
