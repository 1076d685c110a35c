"""Which users' files a sweep stores, and what a resumed sweep says about changed ones."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.sweeping.plan import SweepPlan, plan_sweep
from orchestrator.sweeping.sources import sweep_sources
from tests.support.sweeps import BASE, request
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
