"""The report: a line for each check, and tracebacks on request."""

import pytest

from orchestrator.contract.checks import CHECKS
from orchestrator.contract.report import report

BROKEN = "tests.support.broken_methods"
ROUND = ["training.rounds=1"]


def test_correct_method_has_a_line_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert report("fedavg", ROUND)
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"ok      {name}" for name in CHECKS]
    assert output.err == ""


def test_broken_rule_is_reported_in_the_line_of_its_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report(f"{BROKEN}:SendsTooMuch", ROUND)
    lines = dict(zip(CHECKS, capsys.readouterr().out.splitlines(), strict=True))
    broken = [name for name, line in lines.items() if line.startswith("broken  ")]
    assert broken == ["payloads are within their density"]
    assert "30420" in lines[broken[0]]


def test_error_of_a_hook_is_reported_with_its_type_and_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*ROUND, "algorithm.client_id=0", "training.clients_per_round=8"]
    assert not report("tests.support.methods:Misbehaving", arguments, verbose=True)
    output = capsys.readouterr()
    assert "ZeroDivisionError" in output.out
    assert len(output.out.splitlines()) == len(CHECKS)
    assert "Traceback" in output.err
