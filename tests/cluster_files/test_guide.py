"""The cluster guide: its commands, config keys, files and links exist, and no file contains a secret."""

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
    """Return the KEY=VALUE arguments of every `sparsefleet ... run ...` in the guide and the manifests."""
    texts = [*shell_of_guide(), load(KUBERAY / "job.yaml")["spec"]["entrypoint"]]
    return [run for text in texts for run in re.findall(r"sparsefleet(?: submit[^\n]*?)? run ([^\n]+)", text)]


def test_shell_blocks_are_valid_shell() -> None:
    assert len(shell_of_guide()) >= 10
    for block in shell_of_guide():
        subprocess.run(["bash", "-n", "-c", block], check=True)


def test_ray_knows_all_options_and_the_dashboard_listens_on_loopback() -> None:
    starts = [options for block in shell_of_guide() for options in ray_starts(block)]
    heads = [options for options in starts if options["head"]]
    assert len(heads) == 1
    assert len(starts) == 2
    assert all(options["dashboard_host"] == "127.0.0.1" for options in heads)
    assert all(options["node_ip_address"] for options in starts)


def test_every_experiment_is_valid_and_uses_the_shared_folder() -> None:
    assert len(experiments()) == 5
    for arguments in experiments():
        config = ExperimentConfig.parse(apply_overrides({}, shlex.split(arguments)))
        assert str(config.runtime.storage) == STORAGE


def test_every_named_file_and_link_exists() -> None:
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
def test_no_file_contains_a_secret(path: Path) -> None:
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
def test_secret_patterns_match_examples(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in SECRETS.values())


def test_every_ray_start_of_the_guide_has_a_private_umask() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    starts = [block for block in blocks if "ray start" in block]
    assert len(starts) == 2
    for block in starts:
        assert re.search(r"^umask 077\b", block.split("ray start")[0], re.MULTILINE), block


def test_nothing_listens_on_every_address() -> None:
    for path in ALL:
        assert "0.0.0.0" not in path.read_text(), path


def test_values_for_the_user_to_fill_in_are_marked() -> None:
    text = CLUSTER.read_text()
    assert text.count("yours:") == 2
    for placeholder in ("ami-0123456789abcdef0", "fs-0123456789abcdef0"):
        assert text.count(placeholder) == 1
