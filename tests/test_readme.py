"""The method in the README works as printed."""

import re
from pathlib import Path

import pytest

from orchestrator.api import sweep
from orchestrator.config.overrides import apply_overrides
from orchestrator.display.run_progress import Progress
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.storage.summary import RunSummary

README = (Path(__file__).parent.parent / "README.md").read_text()
TINY = ["training.rounds=2", "fleet.num_clients=6", "training.clients_per_round=3", "tracking.enabled=false"]


@pytest.fixture
def method(tmp_path: Path) -> str:
    """`algorithm.name` of the README's method, saved outside the repository."""
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class " in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    file = tmp_path / "largest_only.py"
    file.write_text(code)
    return f"algorithm.name={file}:LargestOnly"


def summary_of(tmp_path: Path, *overrides: str) -> RunSummary:
    """The summary of a tiny run."""
    config = apply_overrides({}, [*TINY, f"runtime.storage={tmp_path / 'runs'}", *overrides])
    return session.run(ExperimentConfig.parse(config), Progress(quiet=True))


def test_method_uploads_the_share_that_its_option_sets(method: str, tmp_path: Path) -> None:
    inprocess = "runtime.executor=inprocess"
    tenth = summary_of(tmp_path, method, inprocess, "algorithm.density=0.1")
    half = summary_of(tmp_path, method, inprocess, "algorithm.density=0.5")
    assert tenth.download_bytes_total == half.download_bytes_total
    assert tenth.upload_bytes_total < 0.3 * half.upload_bytes_total


@pytest.mark.ray
def test_method_is_shipped_to_the_actors(method: str, tmp_path: Path, local_ray: None) -> None:
    alone = summary_of(tmp_path, method, "runtime.executor=inprocess")
    on_ray = summary_of(tmp_path, method, "runtime.actors=pooled")
    assert on_ray.params_sha256 == alone.params_sha256


@pytest.mark.ray
def test_sweep_varies_the_method(method: str, tmp_path: Path, local_ray: None) -> None:
    values = {
        "algorithm.name": [method.partition("=")[2], "fedavg"],
        "training.rounds": 2,
        "tracking.enabled": False,
        "runtime.storage": str(tmp_path / "runs"),
    }
    result = sweep("smoke", values, display=SweepProgress(quiet=True))
    assert (result.num_trials, result.num_finished) == (2, 2)


def test_method_of_an_installed_package_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offered_method.py").write_text(
        "from orchestrator.federation.algorithm import Algorithm\nclass Offered(Algorithm):\n    pass\n"
    )
    metadata = tmp_path / "offered-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sparsefleet.algorithms]\noffered = offered_method:Offered\n")
    monkeypatch.syspath_prepend(tmp_path)
    offered = summary_of(tmp_path, "algorithm.name=offered", "runtime.executor=inprocess")
    plain = summary_of(tmp_path, "algorithm.name=fedavg", "runtime.executor=inprocess")
    assert offered.algorithm == "offered"
    assert offered.params_sha256 == plain.params_sha256


def test_every_link_has_a_target() -> None:
    root = Path(__file__).parent.parent
    for page in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
