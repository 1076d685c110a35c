"""The guide's commands exist, its keys are keys, its files are there, and no file holds a secret."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from tests.support.cluster_files import (
    ALL,
    CLUSTER,
    GUIDE,
    KUBERAY,
    ROOT,
    STORAGE,
    load,
    ray_starts,
    shell_of_guide,
)

SECRETS = {
    "a token": r"RAY_AUTH_TOKEN=|\b[0-9a-fA-F]{32,}\b",
    "a password": r"(?i)password\s*[=:]\s*(?![%$]|\$\()[\"']?\w{4,}",
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|(?i:aws_secret_access_key)",
    "a private key": r"BEGIN [A-Z ]*PRIVATE KEY",
    "a Kubernetes secret": r"kind: Secret\b|stringData",
    "a user and password in an address": r"://[^/\s:@]+:[^/\s@]+@",
}


def experiments() -> list[str]:
    """Every `sparsefleet ... run ...` of guide and manifests, as its KEY=VALUE words in one line."""
    texts = [*shell_of_guide(), load(KUBERAY / "job.yaml")["spec"]["entrypoint"]]
    return [run for text in texts for run in re.findall(r"sparsefleet(?: submit[^\n]*?)? run ([^\n]+)", text)]


def test_shell_blocks_are_shell() -> None:
    assert len(shell_of_guide()) >= 10
    for block in shell_of_guide():
        subprocess.run(["bash", "-n", "-c", block], check=True)


def test_every_ray_start_is_one_that_ray_knows_and_a_head_keeps_its_dashboard_to_itself() -> None:
    starts = [options for block in shell_of_guide() for options in ray_starts(block)]
    heads = [options for options in starts if options["head"]]
    assert len(heads) == 1
    assert len(starts) == 2
    assert all(options["dashboard_host"] == "127.0.0.1" for options in heads)
    assert all(options["node_ip_address"] for options in starts)


def test_every_experiment_is_one_and_commits_into_the_shared_folder() -> None:
    assert len(experiments()) == 4
    for words in experiments():
        config = ExperimentConfig.parse(apply_overrides({}, shlex.split(words)))
        assert str(config.runtime.storage) == STORAGE


def test_every_file_that_it_names_is_there() -> None:
    text = GUIDE.read_text()
    links = re.findall(r"\]\((?!#)([^)]+)\)", text)
    assert links
    for link in links:
        assert (GUIDE.parent / link).resolve().is_file(), link
    for name in re.findall(r"docs/cluster/[\w/.-]+\w", text):
        assert (ROOT / name).is_file(), name
    anchors = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in _headings(text)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    for what, pattern in SECRETS.items():
        assert not re.search(pattern, path.read_text()), what


@pytest.mark.parametrize(
    "line",
    [
        "RAY_AUTH_TOKEN=x ray start",
        "token: " + "0a" * 32,
        "mlflow_tracking_password = hunter22",
        "AKIA" + "A" * 16,
        "kind: Secret",
        "tracking.uri=http://me:word@host",
    ],
)
def test_a_secret_would_be_found(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in SECRETS.values())


def test_nothing_listens_on_every_address() -> None:
    for path in ALL:
        assert "0.0.0.0" not in path.read_text(), path


def test_what_a_user_fills_in_is_marked() -> None:
    text = CLUSTER.read_text()
    assert text.count("yours:") == 2
    for placeholder in ("ami-0123456789abcdef0", "fs-0123456789abcdef0"):
        assert text.count(placeholder) == 1
