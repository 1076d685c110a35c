"""cluster.yaml and on-premises.yaml: Ray accepts them, and they configure what their comments say."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.support.cluster_files import (
    CLUSTER,
    ON_PREMISES,
    ROOT,
    SHARED,
    STORAGE,
    StrictLoader,
    Tree,
    commands,
    launcher_config,
    load,
    ray_starts,
)

BOTH = pytest.mark.parametrize("path", [CLUSTER, ON_PREMISES], ids=lambda path: path.stem)
RAY_ERRORS = (jsonschema.ValidationError, ValueError, click.ClickException)


@BOTH
def test_ray_accepts_the_file(path: Path) -> None:
    config = launcher_config(load(path))
    assert config["cluster_name"] == "sparsefleet"
    assert config["head_node_type"] in config["available_node_types"]


def _without(*keys: str) -> Callable[[Tree], None]:
    def edit(tree: Tree) -> None:
        _at(tree, keys[:-1]).pop(keys[-1])

    return edit


def _with(value: object, *keys: str) -> Callable[[Tree], None]:
    def edit(tree: Tree) -> None:
        _at(tree, keys[:-1])[keys[-1]] = value

    return edit


def _at(tree: Tree, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        (CLUSTER, _with(12, "max_worker")),
        (CLUSTER, _with([], "setup_command")),
        (CLUSTER, _with(1, "available_node_types", "cpu_worker", "min_worker")),
        (CLUSTER, _with("1", "available_node_types", "cpu_worker", "min_workers")),
        (CLUSTER, _with(13, "available_node_types", "cpu_worker", "min_workers")),
        (CLUSTER, _with("all", "provider", "security_group", "Ports")),
        (CLUSTER, _without("available_node_types", "head")),
        (CLUSTER, _without("available_node_types", "gpu_worker", "resources")),
        (CLUSTER, _with("the head", "head_node_type")),
        (CLUSTER, _with(1, "cluster_name")),
        (ON_PREMISES, _without("provider", "head_ip")),
        (ON_PREMISES, _without("provider", "worker_ips")),
        (ON_PREMISES, _with("10.0.0.2", "provider", "worker_ips")),
        (ON_PREMISES, _with({}, "file_mount")),
        (ON_PREMISES, _with({"head": {}}, "available_node_types")),
    ],
)
def test_ray_rejects_a_wrong_file(path: Path, edit: Callable[[Tree], None]) -> None:
    tree = load(path)
    edit(tree)
    with pytest.raises(RAY_ERRORS):
        launcher_config(tree)


def test_duplicate_keys_and_unknown_anchors_are_errors() -> None:
    for broken in ("a: 1\na: 2", "a: *nothing", "b: &x {c: 1}\na:\n  <<: *x\n  d: 1\n  d: 2"):
        with pytest.raises(yaml.YAMLError):
            yaml.load(broken, StrictLoader)
    merged = yaml.load("b: &x {c: 1}\na: {<<: *x, c: 2}", StrictLoader)
    assert merged["a"] == {"c": 2}


@BOTH
def test_commands_are_valid_shell_and_ray_knows_all_options(path: Path) -> None:
    tree = load(path)
    for command in commands(tree):
        subprocess.run(["bash", "-n", "-c", command], check=True)
    (head,) = ray_starts("\n".join(tree["head_start_ray_commands"]))
    (worker,) = ray_starts("\n".join(tree["worker_start_ray_commands"]))
    assert head["head"]
    assert head["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert not worker["head"]
    assert worker["address"] == f"$RAY_HEAD_IP:{head['port']}"


def test_unknown_option_of_ray_start_is_rejected() -> None:
    with pytest.raises(click.UsageError):
        ray_starts("ulimit -n 9; ray start --head --dashbord-host=127.0.0.1")


def test_node_limits_of_the_autoscaler_agree() -> None:
    config = launcher_config(load(CLUSTER))
    types = config["available_node_types"]
    workers = {name: kind for name, kind in types.items() if name != config["head_node_type"]}
    assert types["head"]["min_workers"] == types["head"]["max_workers"] == 0
    assert all(0 <= kind["min_workers"] <= kind["max_workers"] for kind in workers.values())
    assert sum(kind["max_workers"] for kind in workers.values()) == config["max_workers"]


def test_workers_are_spot_and_the_head_is_not() -> None:
    nodes = {name: kind["node_config"] for name, kind in load(CLUSTER)["available_node_types"].items()}
    assert "InstanceMarketOptions" not in nodes["head"]
    for name in ("cpu_worker", "gpu_worker"):
        assert nodes[name]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert len({node["ImageId"] for node in nodes.values()}) == 1
    assert len({node["InstanceType"] for node in nodes.values()}) == 3


def test_dashboard_and_mlflow_listen_on_loopback() -> None:
    aws, own = load(CLUSTER), load(ON_PREMISES)
    assert "IpPermissions" not in aws["provider"]["security_group"]
    assert "docker" not in aws
    for tree in (aws, own):
        (head,) = ray_starts("\n".join(tree["head_start_ray_commands"]))
        assert head["dashboard_host"] == "127.0.0.1"
    (mlflow,) = (command for command in commands(aws) if "mlflow)" in command)
    assert " server --host 127.0.0.1 " in mlflow


@BOTH
def test_node_needs_the_token_in_a_private_file(path: Path) -> None:
    tree = load(path)
    assert tree["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in tree["setup_commands"])
    starts = [command for command in commands(tree) if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)


@BOTH
def test_other_users_of_a_node_cannot_read_what_ray_and_mlflow_write(path: Path) -> None:
    tree = load(path)
    for command in commands(tree):
        if "ray start" in command:
            assert command.split("ray start")[0].count("umask 077;") == 1
        if "systemd-run" in command:
            assert "--property=UMask=0077" in command


@BOTH
def test_nodes_use_the_shared_folder_and_a_worker_needs_its_mount(path: Path) -> None:
    tree = load(path)
    assert any(STORAGE in command for command in tree["setup_commands"])
    assert f"mountpoint -q {SHARED} && RAY_AUTH_MODE" in tree["worker_start_ray_commands"][-1]
    mounts = {word for command in commands(tree) for word in command.split() if word.startswith("/mnt/")}
    assert all(word.startswith(SHARED) for word in mounts)


def test_head_on_premises_has_the_address_of_the_launcher() -> None:
    tree = load(ON_PREMISES)
    (head,) = ray_starts("\n".join(tree["head_start_ray_commands"]))
    provider = tree["provider"]
    assert head["node_ip_address"] == provider["head_ip"]
    assert len({provider["head_ip"], *provider["worker_ips"]}) == 1 + len(provider["worker_ips"])


def test_nodes_install_the_uv_version_of_the_makefile() -> None:
    (pinned,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert any(f"uv=={pinned})" in command for command in load(CLUSTER)["setup_commands"])
