"""The files of TensorBoard are read back with TensorBoard's own reader."""

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator import TensorBoardCallback, resume, run
from orchestrator.display.run_progress import Progress
from orchestrator.errors import RequestError
from orchestrator.experiment.loading import load_config
from tests.support.command import QUICK


def _read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_curves_are_those_of_the_run_and_continue_when_it_resumes(tmp_path: Path) -> None:
    config = load_config(None, [*QUICK, f"runtime.storage={tmp_path / 'runs'}", "training.rounds=2"])
    quiet = Progress(quiet=True)
    result = run(config, quiet, callbacks=[TensorBoardCallback(tmp_path / "board")])
    resumed = resume(
        result.folder,
        ["training.rounds=3"],
        quiet,
        callbacks=[TensorBoardCallback(tmp_path / "board")],
    )
    events, frame = _read(tmp_path / "board"), resumed.to_dataframe()
    assert set(events.Tags()["scalars"]) == set(frame.columns)
    for name in ("eval/accuracy", "comm/upload_bytes_total"):
        points = events.Scalars(name)
        assert [point.step for point in points] == [0, 1, 2]
        assert [point.value for point in points] == pytest.approx([*frame[name]])


def test_config_and_summary_are_texts(tmp_path: Path) -> None:
    config = load_config(None, [*QUICK, f"runtime.storage={tmp_path / 'runs'}", "training.rounds=1"])
    result = run(config, Progress(quiet=True), callbacks=[TensorBoardCallback(tmp_path / "board")])
    events = _read(tmp_path / "board")
    for name, row in (("config", "| training.rounds | 1 |"), ("summary", f'| run_id | "{result.run_id}" |')):
        (text,) = events.Tensors(f"{name}/text_summary")
        assert row in text.tensor_proto.string_val[0].decode().splitlines()


def test_missing_package_is_one_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RequestError, match="install it with `pip install tensorboard`"):
        TensorBoardCallback(tmp_path)
