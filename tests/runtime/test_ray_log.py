"""Ray's own messages go to a file while a run lasts, and standard output contains only the result."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private import worker as ray_worker

from orchestrator.runtime.ray_log import ray_log
from orchestrator.runtime.run_folder import RAY_LOG, mention_ray_log

MESSAGE = {"lines": ["A worker died.", "Its address is x."], "pid": "raylet", "is_err": False}


def test_messages_and_log_lines_go_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, handlers = ray_worker.print_to_stdstream, list(logging.getLogger("ray").handlers)
    with ray_log(tmp_path):
        ray_worker.print_to_stdstream(MESSAGE, ignore_prefix=False)
        logging.getLogger("ray.some.module").error("a lost connection")
    text = (tmp_path / RAY_LOG).read_text()
    assert all(part in text for part in ("A worker died.", "Its address is x.", "a lost connection"))
    assert capsys.readouterr() == ("", "")
    assert ray_worker.print_to_stdstream is printed
    assert logging.getLogger("ray").handlers == handlers


def test_file_is_named_only_if_ray_reported_something(tmp_path: Path) -> None:
    with ray_log(tmp_path):
        assert mention_ray_log(tmp_path) == ""
        ray_worker.print_to_stdstream(MESSAGE, ignore_prefix=False)
        assert str(tmp_path / RAY_LOG) in mention_ray_log(tmp_path)


def test_terminal_is_restored_after_an_error(tmp_path: Path) -> None:
    printed = ray_worker.print_to_stdstream
    with pytest.raises(KeyboardInterrupt), ray_log(tmp_path):
        raise KeyboardInterrupt
    assert ray_worker.print_to_stdstream is printed


@pytest.mark.ray
def test_lost_actors_leave_no_line_of_ray_in_the_output(tmp_path: Path) -> None:
    arguments = [
        *(
            "training.rounds=2",
            "training.local_epochs=1",
            "fleet.num_clients=4",
            "training.clients_per_round=3",
        ),
        *("chaos.client_dies=0.6", "tracking.enabled=false", f"runtime.storage={tmp_path}", "--summary", "-"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "run", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    run = tmp_path / json.loads(done.stdout)["run_id"]
    assert (run / "failures.jsonl").read_text()
    assert str(run / "failures.jsonl") in done.stderr
    assert "raylet" not in done.stderr
    assert "unexpected system error" not in done.stderr
