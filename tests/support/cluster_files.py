"""Read the cluster files as Ray reads them, and find the commands that they contain."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster.yaml"
ON_PREMISES = ROOT / "docs/cluster/on-premises.yaml"
KUBERAY = ROOT / "docs/cluster/kuberay"
GUIDE = ROOT / "docs/cluster/README.md"
ALL = [CLUSTER, *sorted(path for path in (ROOT / "docs/cluster").rglob("*") if path.is_file())]

#: the folder that all nodes share, and the storage folder of runs in it
SHARED = "/mnt/sparsefleet"
STORAGE = f"{SHARED}/runs"

Tree = dict[str, Any]


class StrictLoader(yaml.SafeLoader):
    """Loads YAML and rejects duplicate keys in a mapping, where the base class keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See SafeLoader; merged keys (`<<`) may be overridden."""
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        self.flatten_mapping(node)
        duplicates = {key for key in keys if keys.count(key) > 1}
        if duplicates:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate keys {duplicates}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load(path: Path) -> Tree:
    """Load one document."""
    tree: Tree = yaml.load(path.read_text(), StrictLoader)
    return tree


def launcher_config(tree: Tree) -> Tree:
    """Return the config that `ray up` makes of a file. Raises the error with which Ray rejects the file."""
    config: Tree = prepare_config(copy.deepcopy(tree))
    validate_config(config)
    return config


def autoscaler_config(cluster: Tree) -> Tree:
    """Return the config that Ray's autoscaler makes of a RayCluster. Raises the error with which Ray rejects it."""
    config: Tree = _derive_autoscaling_config_from_ray_cr(copy.deepcopy(cluster))
    return config


def commands(tree: Tree) -> list[str]:
    """Return every shell command that the launcher runs on a node."""
    return [command for key, value in tree.items() if key.endswith("_commands") for command in value]


def ray_starts(text: str) -> list[dict[str, Any]]:
    """Return the options of every `ray start` in a shell text, as parsed by Ray's own command line."""
    return [start_options(arguments) for arguments in re.findall(r"\bray start ([^\n;&|]*)", text)]


def start_options(arguments: str) -> dict[str, Any]:
    """Return the options of `ray start ARGUMENTS`. Raises click's UsageError for unknown options."""
    options: dict[str, Any] = start.make_context("ray start", shlex.split(arguments)).params
    return options


def shell_of_guide() -> list[str]:
    """Return the guide's shell blocks, with continued lines joined."""
    return [
        block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    ]
