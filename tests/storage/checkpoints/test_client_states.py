"""Client states behave like a dictionary, for any sequence of rounds, reads and restarts."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.atomic_write import write_durably
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.rounds.driver import Driver
from orchestrator.storage.checkpoints.saved_states import clients_file
from orchestrator.storage.checkpoints.state_file import encode
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import read_records
from tests.support.runs import (
    REMEMBERING,
    Clock,
    committed,
    drive,
    prepared,
)
from tests.support.state_process import (
    STATE_BYTES,
    StateProcess,
    numbered_state,
    numbers_of,
    rounds_with_clients_file,
)


class TestAgainstADictionary:
    """Stage, commit, read and kill in any order."""

    CHANGES = st.dictionaries(st.integers(0, 5), st.none() | st.integers(0, 99), max_size=3)
    STEPS = st.one_of(
        st.tuples(st.just("stage"), CHANGES),
        st.tuples(st.sampled_from(["commit", "kill", "kill before the pointer", "kill after it"])),
        st.tuples(st.just("read"), st.integers(0, 6)),
    )

    @settings(max_examples=60)
    @given(steps=st.lists(STEPS, max_size=20), cached=st.integers(0, 3))
    def test_any_sequence_of_steps_equals_a_dictionary(
        self, steps: list[tuple[Any, ...]], cached: int
    ) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            process = StateProcess(folder, cached * STATE_BYTES)
            history: list[dict[int, int | None]] = [{}]
            staged: dict[int, int | None] = {}
            for step in steps:
                match step:
                    case "read", k:
                        expected = history[-1] | staged
                        assert (k in process.states) == (k in expected)
                        found = process.states.get(k)
                        assert (None if found is None else found.number) == expected.get(k)
                    case "stage", changed:
                        staged |= changed
                        states = {k: None if n is None else numbered_state(n) for k, n in changed.items()}
                        process.states.stage(process.round_idx, states)
                    case ("commit",):
                        process.commit()
                        history.append(history[-1] | staged)
                        staged = {}
                    case (kill,):
                        if kill == "kill before the pointer":
                            half = encode({str(k): numbered_state(100) for k in range(6)})
                            write_durably(folder / clients_file(process.round_idx), half)
                        if kill == "kill after it":
                            process.write()
                            history.append(history[-1] | staged)
                        process, staged = StateProcess(folder, cached * STATE_BYTES), {}
                assert numbers_of(process.states) == history[-1] | staged
                assert len(process.states) == len(history[-1] | staged)


class TestSnapshots:
    """`after(round_idx)`, while the next round already changes states."""

    def test_snapshot_excludes_later_rounds(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path)
        process.commit({0: numbered_state(0), 1: numbered_state(1)})
        process.states.stage(1, {1: numbered_state(11), 2: numbered_state(12)})
        after = process.states.after(1)
        process.states.stage(2, {0: numbered_state(20), 1: None, 3: numbered_state(23)})
        assert numbers_of(after) == {0: 0, 1: 11, 2: 12}
        assert numbers_of(process.states) == {0: 20, 1: None, 2: 12, 3: 23}
        assert [k in after for k in range(4)] == [True, True, True, False]
        assert numbers_of(process.states.after(1)) == numbers_of(after)
        assert numbers_of(process.states.after(2)) == numbers_of(process.states)
        with pytest.raises(KeyError):
            after[3]

    def test_commit_of_its_round_does_not_change_a_snapshot(self, tmp_path: Path) -> None:
        process = StateProcess(tmp_path, 0)
        process.commit({0: numbered_state(0)})
        process.states.stage(1, {0: numbered_state(10), 1: numbered_state(11)})
        after = process.states.after(1)
        process.states.stage(2, {0: numbered_state(20)})
        process.commit()
        assert numbers_of(after) == {0: 10, 1: 11}
        assert numbers_of(process.states.staged(2)) == {0: 20}

    def test_driver_scores_clients_with_the_states_of_the_round(self, tmp_path: Path) -> None:
        """`Prompted` probes client 39 for the next round before the driver has scored it in the last chunk."""
        experiment = prepared(
            "algorithm.name=tests.support.probing_methods:Prompted",
            "fleet.num_clients=40",
            "data.partition.kind=iid",
            "evaluation.personal_every=1",
        )
        drive(experiment, tmp_path)

        def share(k: int, label: int) -> float:
            return float((experiment.dataset.test_labels[experiment.partition.test[k]] == label % 10).mean())

        others = sum(share(k, k) for k in range(39))
        measured = [
            record.metrics["personal/accuracy_mean"] for record in read_records(tmp_path / "metrics.jsonl")
        ]
        assert measured == pytest.approx([(others + share(39, 39 + r + 1)) / 40 for r in range(4)], rel=1e-12)
        assert any(share(39, 39 + r + 1) != share(39, 39 + r + 2) for r in range(3)), (
            "equal shares would hide a wrong round"
        )


OPTIONS = {
    "client state": (REMEMBERING,),
    "probes": ("algorithm.name=tests.support.probing_methods:Asking",),
    "messages to one client": (
        "algorithm.name=tests.support.message_methods:Tailored",
        "algorithm.renew_every=2",
    ),
    "clients' own models": (
        "algorithm.name=tests.support.probing_methods:Stubborn",
        "evaluation.personal_every=1",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_run_without_a_cache_gives_the_same_run(tmp_path: Path, name: str) -> None:
    experiment = prepared(*OPTIONS[name])
    expected = drive(experiment, tmp_path / "cached").params_sha256()
    store = RunStore(tmp_path / "read", cache_bytes=0)
    driver = Driver(experiment, InProcessExecutor(experiment), store, now_s=Clock())
    records = list(driver.run())
    assert driver.params_sha256() == expected
    assert records == read_records(tmp_path / "cached" / "metrics.jsonl")
    for path in (tmp_path / "cached" / "commits").glob("*.safetensors"):
        assert (tmp_path / "read" / "commits" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(committed(experiment, tmp_path / "read").client_states) > 2


def test_driver_deletes_files_without_latest_states(tmp_path: Path) -> None:
    experiment = prepared(REMEMBERING, "training.clients_per_round=6", "training.rounds=5")
    drive(experiment, tmp_path)
    assert rounds_with_clients_file(tmp_path / "commits") == {3, 4}
