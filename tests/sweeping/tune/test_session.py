"""Resuming a sweep over a user's files that have changed since it started."""

from pathlib import Path

import pytest

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError
from orchestrator.storage.sources import SOURCES, store_sources
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.sources import sweep_sources
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.tune.session import resume_sweep
from tests.support.new_process import forget_plugins
from tests.support.sweeps import BASE, new_store, request
from tests.support.user_files import write_user_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's files, which is the current folder."""
    folder = write_user_files(tmp_path / "home")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def stored(home: Path, tmp_path: Path) -> SweepStore:
    """A sweep over a user's method, whose process was killed before the first trial."""
    options = {"space": str(home / "grid.py"), "overrides": {"algorithm.name": "method.py:Mine"}}
    plan, store = plan_sweep(request(config=BASE, **options)), new_store(tmp_path)
    store.describe(
        {
            "request": plan.request.model_dump(mode="json"),
            "base": dict(plan.base),
            "home": str(home),
            SOURCES: store_sources(store.folder, sweep_sources(plan)),
        }
    )
    forget_plugins()
    return store


@pytest.mark.parametrize(
    ("name", "field"),
    [("helper.py", "algorithm.name"), ("method.py", "algorithm.name"), ("choices.py", "SPACE")],
)
def test_resume_names_the_changed_file_before_ray_starts(
    stored: SweepStore, home: Path, name: str, field: str
) -> None:
    file, before = home / name, stored.about()
    file.write_text(f"{file.read_text()}\n# edited\n")
    with pytest.raises(ConfigError) as caught:
        resume_sweep(stored.folder, SweepProgress(quiet=True))
    assert caught.value.field == field
    assert name in caught.value.problem
    assert "--accept-changed-code" in caught.value.remedy
    assert stored.about() == before


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_accepted_code_runs_and_both_codes_are_stored(stored: SweepStore, home: Path) -> None:
    file = home / "helper.py"
    before = file.read_text()
    file.write_text(f"{before}\n# edited\n")
    result = resume_sweep(stored.folder, SweepProgress(quiet=True), accept_changed_code=True)
    assert (result.num_trials, result.num_finished) == (2, 2)
    stored_code = [
        stored.folder / name / "algorithm" / "helper.py" for name in (SOURCES, "sources-replaced-1")
    ]
    assert [path.read_text() for path in stored_code] == [file.read_text(), before]
    assert stored.about()["replaced_sources"] == [{"folder": "sources-replaced-1", "num_rounds": 0}]
