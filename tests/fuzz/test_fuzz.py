"""A small part of what the fuzzers try, and that they would notice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.sparsity.payload import Scalar
from orchestrator.sparsity.wire import encode
from tests.fuzz import commits, configs, wire
from tests.fuzz.tally import MIB, Tally, command


def _ended(tallies: Iterator[Tally], num_inputs: int) -> Tally:
    *_, tally = tallies
    assert tally.findings == []
    assert tally.num_inputs == num_inputs
    return tally


@pytest.mark.parametrize("seed", [11, 12])
def test_buffers(seed: int) -> None:
    tally = _ended(wire.fuzz(seed, 3000), 3000)
    assert set(tally.outcomes) == {"empty", "refused", "valid"}


def test_commits() -> None:
    tally = _ended(commits.fuzz(11, 60), 60)
    assert set(tally.outcomes) == {"refused", "restored", "went back by one", "begun anew"}


def test_configs() -> None:
    tally = _ended(configs.fuzz(11, 60), 60)
    assert set(tally.outcomes) == {"refused", "valid"}


def test_a_changed_buffer_that_is_accepted_is_noticed() -> None:
    tally, buffer = Tally(), encode((Scalar("x", 1.0),))
    assert wire.outcome(tally, buffer, {}, may_differ=True) == "valid"
    assert wire.outcome(tally, buffer, {}, may_differ=False) == "FINDING"
    assert len(tally.findings) == 1


def test_a_wrong_state_and_a_silent_step_back_are_noticed(tmp_path: Path) -> None:
    one, tally = commits.original(tmp_path / "run", "one round"), Tally()
    folder = commits.copied(one.folder, tmp_path / "copy")
    assert commits.outcome(tally, folder, one, "as it is") == "restored"
    assert commits.outcome(tally, folder, replace(one, digests=["0"]), "") == "FINDING"
    assert commits.outcome(tally, folder, replace(one, digests=[*one.digests, "0", "0"]), "") == "FINDING"
    assert len(tally.findings) == 2


@pytest.mark.parametrize(
    ("content", "outcome"),
    [("seed: 3", "valid"), ("seed: x", "refused"), ("seed: &a [*a]", "refused"), ("\udcff", "refused")],
)
def test_a_config_file_is_valid_or_refused(tmp_path: Path, content: str, outcome: str) -> None:
    file, tally = tmp_path / "experiment.yaml", Tally()
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert configs.outcome(tally, file, "") == outcome
    assert tally.findings == []


@pytest.mark.parametrize(("num_findings", "num_inputs", "code"), [(0, 3, 0), (1, 3, 1), (0, 2, 1)])
def test_the_exit_code(
    num_findings: int,
    num_inputs: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 for any finding, and for fewer inputs than were asked for."""

    def fuzz(seed: int, number: int) -> Iterator[Tally]:
        assert (seed, number) == (5, 3)
        tally = Tally()
        tally.outcomes["refused"] = num_inputs
        for finding in range(num_findings):
            tally.found(f"number {finding}")
        yield tally

    monkeypatch.setattr("sys.argv", ["fuzz", "--number", "3", "--seed", "5"])
    assert command("name", "--number", 100, fuzz, 2**14 * MIB) == code
    out = capsys.readouterr().out
    assert f"name, seed 5: {num_inputs} inputs: {num_inputs} refused" in out
    assert ("FINDING number 0" in out) == bool(num_findings)
