"""A small number of fuzzer inputs, and tests that the fuzzers detect findings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.sparsity.payload import Scalar, with_values
from orchestrator.sparsity.wire import encode
from orchestrator.storage.checkpoints.pointer import pointer_name
from tests.fuzz import commits, configs, updates, wire
from tests.fuzz.hostile_updates import with_item
from tests.fuzz.tally import MIB, Tally, command


def _ended(tallies: Iterator[Tally], num_inputs: int) -> Tally:
    *_, tally = tallies
    assert tally.findings == []
    assert tally.num_inputs == num_inputs
    return tally


@pytest.mark.parametrize("seed", [11, 12])
def test_damaged_buffers_give_no_finding(seed: int) -> None:
    tally = _ended(wire.fuzz(seed, 3000), 3000)
    assert set(tally.outcomes) == {"empty", "rejected", "valid"}


def test_damaged_checkpoints_give_no_finding() -> None:
    tally = _ended(commits.fuzz(11, 60), 60)
    assert set(tally.outcomes) == {"rejected", "restored", "one checkpoint back", "no checkpoint"}


def test_damaged_configs_give_no_finding() -> None:
    tally = _ended(configs.fuzz(11, 60), 60)
    assert set(tally.outcomes) == {"rejected", "valid"}


def test_hostile_updates_give_no_finding() -> None:
    *_, tally = updates.fuzz(11, 200)
    assert tally.findings == []
    assert tally.num_inputs >= 200
    assert set(tally.outcomes) <= {*updates.KINDS, *updates.PLAUSIBLE_KINDS, *updates.SCORE_KINDS}


@pytest.mark.parametrize("policy", ["retry", "drop"])
@pytest.mark.parametrize(
    "kind", ["other name", "other size", "not finite", "other values", "round_idx", "FLOPs"]
)
def test_hostile_updates_with_a_mask_of_their_own_give_no_finding(policy: str, kind: str) -> None:
    tally = Tally()
    updates.run(tally, "topk", policy, np.random.default_rng(5), kind, has_shards=policy == "retry")
    assert tally.findings == []
    assert tally.num_inputs > 0


def test_admitted_hostile_update_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that the driver cannot detect: other values of the right number."""
    half = lambda rng, item: (with_values(item, item.values * np.float32(0.5)),)  # noqa: E731
    monkeypatch.setattr(updates, "KINDS", {"half": with_item(half)})
    tally = Tally()
    updates.run(tally, "fedavg", "retry", np.random.default_rng(0), "half", has_shards=False)
    assert any("0 of them rejected" in finding for finding in tally.findings)
    assert any("other parameters" in finding for finding in tally.findings)


def test_accepted_changed_buffer_is_a_finding() -> None:
    tally, buffer = Tally(), encode((Scalar("x", 1.0),))
    assert wire.outcome(tally, buffer, {}, may_differ=True) == "valid"
    assert wire.outcome(tally, buffer, {}, may_differ=False) == "FINDING"
    assert len(tally.findings) == 1


def test_wrong_state_and_silent_step_back_are_findings(tmp_path: Path) -> None:
    one, tally = commits.original(tmp_path / "run", "one round"), Tally()
    folder = commits.copied(one.folder, tmp_path / "copy")
    assert commits.outcome(tally, folder, one, "as it is") == "restored"
    assert commits.outcome(tally, folder, replace(one, digests=["0"]), "") == "FINDING"
    assert commits.outcome(tally, folder, replace(one, digests=[*one.digests, "0", "0"]), "") == "FINDING"
    assert len(tally.findings) == 2


def test_message_about_a_skipped_checkpoint_must_match_the_resumed_round(tmp_path: Path) -> None:
    """The skipped checkpoint is newer than the newest one of the original, so that no round is lost."""
    one, tally = commits.original(tmp_path / "run", "one round"), Tally()
    folder = commits.copied(one.folder, tmp_path / "copy")
    (folder / "commits" / pointer_name(one.newest + 1)).write_text("{}")
    assert commits.outcome(tally, folder, one, "extra pointer") == "FINDING"
    (finding,) = tally.findings
    assert pointer_name(one.newest + 1) in finding


@pytest.mark.parametrize(
    ("content", "outcome"),
    [("seed: 3", "valid"), ("seed: x", "rejected"), ("seed: &a [*a]", "rejected"), ("\udcff", "rejected")],
)
def test_config_file_is_valid_or_rejected(tmp_path: Path, content: str, outcome: str) -> None:
    file, tally = tmp_path / "experiment.yaml", Tally()
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert configs.outcome(tally, file, "") == outcome
    assert tally.findings == []


@pytest.mark.parametrize(("num_findings", "num_inputs", "code"), [(0, 3, 0), (1, 3, 1), (0, 2, 1)])
def test_findings_and_missing_inputs_give_exit_code_1(
    num_findings: int,
    num_inputs: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fuzz(seed: int, number: int) -> Iterator[Tally]:
        assert (seed, number) == (5, 3)
        tally = Tally()
        tally.outcomes["rejected"] = num_inputs
        for finding in range(num_findings):
            tally.found(f"number {finding}")
        yield tally

    monkeypatch.setattr("sys.argv", ["fuzz", "--number", "3", "--seed", "5"])
    assert command("name", "--number", 100, fuzz, 2**14 * MIB) == code
    out = capsys.readouterr().out
    assert f"name, seed 5: {num_inputs} inputs: {num_inputs} rejected" in out
    assert ("FINDING number 0" in out) == bool(num_findings)
