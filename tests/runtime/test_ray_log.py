"""Ray's own messages go to a file while a run lasts. The messages come from fakes of Ray's printing and logging."""

import logging
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
