"""Runs that another release stored: they resume, or one line says why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field, create_model
from safetensors.torch import load_file

from orchestrator.config.formats import CONFIG_FORMATS, ConfigFormats, FormatChange, RemovedKey
from orchestrator.config.section import Section
from orchestrator.config.sections import DataConfig
from orchestrator.display.run_progress import Progress
from orchestrator.errors import CheckpointError, ConfigError, UnknownKeyError
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import load_config
from orchestrator.experiment.prepare import prepare
from orchestrator.rounds.driver import Driver
from orchestrator.runtime import session
from orchestrator.runtime.run_folder import verify_run
from orchestrator.storage.run_store import RunStore
from tests.support.command import QUICK

#: a run of FedDST that release 0.1.0 stored after four of six rounds, and the result of the undisturbed run
RELEASE = Path(__file__).parents[1] / "stored_runs" / "release-0.1.0"
#: a run on the digits of the same release, stored after two rounds, and the result of three rounds
DIGITS = RELEASE.with_name("release-0.1.0-digits")
QUIET = Progress(quiet=True)
#: config of the runs in today's format
STORED = (*QUICK, "data.partition.alpha=2", "data.stride=6")


class Notes(Progress):
    """Collects the lines that a session shows."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that release 0.1.0 stored, in the current folder."""
    shutil.copytree(RELEASE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (folder,) = tmp_path.glob("feddst-*")
    return folder


def _about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


class TestEarlierRelease:
    """A run of release 0.1.0, whose run.json has no format.

    Its results agree to rounding: the release did not store which processor made the run.
    """

    def test_resume_gives_the_result_of_the_undisturbed_run(self, earlier: Path) -> None:
        notes = Notes()
        summary = session.resume(earlier, [], notes)
        expected = json.loads((RELEASE / "undisturbed.json").read_text())
        assert summary.num_rounds == expected["num_rounds"] == 6
        for name in ("upload_bytes_total", "download_bytes_total", "train_flops_total", "accuracy"):
            assert getattr(summary, name) == expected[name], name
        model, final = (
            load_file(path) for path in (earlier / "model/model.safetensors", RELEASE / "final.safetensors")
        )
        for name, values in final.items():
            torch.testing.assert_close(model[name], values)
        assert any("format 1" in line for line in notes.lines)

    def test_resumed_run_keeps_its_format_and_can_be_resumed_again(self, earlier: Path) -> None:
        before = RunStore(earlier).stored_config()
        session.resume(earlier, ["training.rounds=5", "runtime.max_retries=3"], QUIET)
        after = RunStore(earlier).stored_config()
        assert after["training"] == {**before["training"], "rounds": 5, "stop": {"patience": None}}
        assert after["data"] == {**before["data"], "max_gib": 1e6}, "earlier releases had no limit"
        assert after["runtime"]["max_retries"] == 3
        assert "format" not in _about(earlier)
        assert session.resume(earlier, ["training.rounds=6"], QUIET).num_rounds == 6

    def test_resume_rejects_a_changed_value(self, earlier: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            session.resume(earlier, ["training.lr=0.3"], QUIET)
        assert (caught.value.field, caught.value.value) == ("training.lr", 0.3)

    def test_resume_rejects_changed_data_and_names_the_release(self, earlier: Path) -> None:
        images = dict(np.load("images.npz"))
        np.savez("images.npz", x=images["x"][::-1], y=images["y"])
        with pytest.raises(CheckpointError, match=r"^data .*0\.1\.0"):
            session.resume(earlier, [], QUIET)

    @pytest.mark.parametrize("stored", [RELEASE, DIGITS], ids=lambda path: path.name)
    def test_stored_run_is_small(self, stored: Path) -> None:
        assert sum(path.stat().st_size for path in stored.rglob("*") if path.is_file()) < 200_000

    def test_run_on_the_digits_keeps_the_constants_of_its_release(self, tmp_path: Path) -> None:
        (source,) = DIGITS.glob("feddst-*")
        folder = Path(shutil.copytree(source, tmp_path / source.name))
        summary = session.resume(folder, ["training.rounds=3"], QUIET)
        expected = json.loads((DIGITS / "undisturbed.json").read_text())
        config = ExperimentConfig.parse(RunStore(folder).config())
        assert (config.data.mean, config.data.std) == ((0.3053,), (0.376,))
        for name in ("num_rounds", "upload_bytes_total", "download_bytes_total", "train_flops_total"):
            assert getattr(summary, name) == expected[name], name
        assert summary.accuracy == pytest.approx(expected["accuracy"], abs=0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """The digest of the model after three undisturbed rounds."""
    storage = tmp_path_factory.mktemp("whole")
    config = load_config(None, [*STORED, "training.rounds=3", f"runtime.storage={storage}"])
    return session.run(config, QUIET).params_sha256


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run of today's format that has two rounds of three."""
    config = load_config(None, [*STORED, "training.rounds=2", f"runtime.storage={tmp_path}"])
    folder = tmp_path / session.run(config, QUIET).run_id
    RunStore(folder).start_attempt({"training.rounds": 3})
    return folder


def _next_data() -> type[Section]:
    """The section `data` with `limit` added, `stride` renamed to `step`, and `min_characters` removed."""
    fields: dict[str, Any] = {
        name: (info.annotation, info)
        for name, info in DataConfig.model_fields.items()
        if name not in ("stride", "min_characters")
    }
    fields |= {"step": (int, Field(10, ge=1)), "limit": (int, Field(5, ge=0))}
    section: type[Section] = create_model("NextData", __base__=Section, **fields)
    return section


class NextConfig(ExperimentConfig):
    """The config of a later release, in which one section has changed."""

    data: _next_data()  # type: ignore[valid-type, assignment]


def _next_formats(neutral: int = 1000) -> ConfigFormats:
    change = FormatChange(
        version=CONFIG_FORMATS.latest + 1,
        added={"data.limit": 0},
        renamed={"data.stride": "data.step"},
        removed={"data.min_characters": RemovedKey("use the release before", neutral=neutral)},
    )
    return ConfigFormats([*CONFIG_FORMATS.changes, change])


class TestLaterRelease:
    """A run of today's format under a config with one key more, one renamed and one removed."""

    def test_run_resumes_and_gives_the_result_of_the_undisturbed_run(
        self, stored: Path, whole: str | None
    ) -> None:
        store, formats = RunStore(stored), _next_formats()
        config = NextConfig.parse(store.config(formats))
        assert config.data.model_dump().items() >= {"step": 6, "limit": 0}.items()
        experiment = prepare(config)
        (note,) = verify_run(store, experiment, formats)
        assert f"format {CONFIG_FORMATS.latest}" in note
        with store.locked():
            driver = Driver(experiment, InProcessExecutor(experiment), store)
            assert [record.round_idx for record in driver.run()] == [2]
        assert driver.params_sha256() == whole

    def test_removed_key_with_another_value_is_rejected_with_the_remedy(self, stored: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            RunStore(stored).config(_next_formats(neutral=25))
        error = caught.value
        assert (error.field, error.value, error.remedy) == (
            "data.min_characters",
            1000,
            "use the release before",
        )

    def test_changed_value_is_rejected_by_its_new_name(self, stored: Path) -> None:
        formats = _next_formats()
        config = NextConfig.parse(RunStore(stored).config(formats))
        changed = config.model_copy(update={"data": config.data.model_copy(update={"step": 7})})
        with pytest.raises(CheckpointError, match=r"data\.step .*\b6\b.*\b7\b"):
            verify_run(RunStore(stored), prepare(changed), formats)


class TestUnreadableFormats:
    """Runs that this release cannot read."""

    @pytest.mark.parametrize("version", [CONFIG_FORMATS.latest + 1, 99, 0, "2", None])
    def test_unknown_format_is_rejected_by_its_file(self, stored: Path, version: object) -> None:
        about = _about(stored)
        about["format"] = version
        (stored / "run.json").write_text(json.dumps(about))
        with pytest.raises(CheckpointError) as caught:
            session.resume(stored, [], QUIET)
        assert str(stored / "run.json") in str(caught.value)
        assert about["packages"]["sparsefleet"] in str(caught.value)

    def test_key_of_a_later_release_is_rejected_by_its_name(self, stored: Path) -> None:
        _change_config(stored, "training", "warmup", 3)
        with pytest.raises(UnknownKeyError) as caught:
            session.resume(stored, [], QUIET)
        assert (caught.value.field, caught.value.value) == ("training.warmup", "3")

    def test_config_that_the_user_changed_is_rejected(self, stored: Path) -> None:
        _change_config(stored, "training", "lr", 0.3)
        with pytest.raises(CheckpointError, match=r"^config "):
            session.resume(stored, [], QUIET)


def _change_config(folder: Path, section: str, key: str, value: object) -> None:
    store = RunStore(folder)
    config = store.stored_config()
    config[section][key] = value
    store.describe(config, store.about())
