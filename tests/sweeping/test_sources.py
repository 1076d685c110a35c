"""Which users' files a sweep stores, and what a resumed sweep says about changed ones."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError
from orchestrator.storage.sources import SOURCES, store_sources
from orchestrator.sweeping.plan import SweepPlan, plan_sweep
from orchestrator.sweeping.sources import sweep_sources
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.tune.session import resume_sweep
from tests.support.new_process import forget_plugins
from tests.support.sweeps import BASE, new_store, request
from tests.support.user_files import write_user_files

METHOD, SPACE = {"method.py", "helper.py"}, {"grid.py", "choices.py"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_user_files(tmp_path / "home")
    (folder / "second.py").write_text(f"import choices\n{(folder / 'method.py').read_text()}")
    monkeypatch.chdir(folder)
    return folder


def _plan(**options: Any) -> SweepPlan:
    return plan_sweep(request(**{"config": BASE, "space": "grid.py", **options}))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, {"space": SPACE}),
        ({"algorithm.name": "method.py:Mine"}, {"space": SPACE, "algorithm": METHOD}),
        (
            {"algorithm.name": ["fedavg", "method.py:Mine", "second.py:Mine"]},
            {"space": SPACE, "algorithm": METHOD, "algorithm-2": {"second.py", "helper.py", "choices.py"}},
        ),
        (
            {"model.name": ["net.py:build", "mlp"], "fleet.name": "street.yaml"},
            {
                "space": SPACE,
                "model": {"net.py", "parts/__init__.py", "parts/blocks.py"},
                "fleet": {"street.yaml", "devices.csv"},
            },
        ),
        (
            {"algorithm": [{"name": "fedavg"}, {"name": "method.py:Mine", "scale": 0.5}]},
            {"space": SPACE, "algorithm": METHOD},
        ),
    ],
)
def test_sources_are_all_files_that_the_trials_may_name(
    home: Path, overrides: dict[str, Any], expected: dict[str, set[str]]
) -> None:
    sources = sweep_sources(_plan(overrides=overrides))
    assert {label: set(files.files) for label, files in sources.items()} == expected


def test_built_in_names_have_no_sources() -> None:
    assert sweep_sources(plan_sweep(request(config=BASE))) == {}


@pytest.fixture
def stored(home: Path, tmp_path: Path) -> SweepStore:
    """A sweep over a user's method, whose process was killed before the first trial."""
    options = {"space": str(home / "grid.py"), "overrides": {"algorithm.name": "method.py:Mine"}}
    plan, store = _plan(**options), new_store(tmp_path)
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
