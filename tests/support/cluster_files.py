"""The cluster files as Ray reads them, and the commands that stand in them."""

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

#: the folder that all nodes share, and what runs are told of it
SHARED = "/mnt/sparsefleet"
STORAGE = f"{SHARED}/runs"

Tree = dict[str, Any]


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error, and not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See SafeLoader; merged keys (`<<`) may be overridden."""
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        self.flatten_mapping(node)
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Tree:
    """One document."""
    tree: Tree = yaml.load(path.read_text(), StrictLoader)
    return tree


def launched(tree: Tree) -> Tree:
    """What `ray up` makes of a file. Raises what Ray raises when it refuses it."""
    config: Tree = prepare_config(copy.deepcopy(tree))
    validate_config(config)
    return config


def autoscaled(cluster: Tree) -> Tree:
    """What the autoscaler in a RayCluster makes of it. Raises what Ray raises when it refuses it."""
    config: Tree = _derive_autoscaling_config_from_ray_cr(copy.deepcopy(cluster))
    return config


def commands(tree: Tree) -> list[str]:
    """Every shell command that the launcher would run on a node."""
    return [command for key, value in tree.items() if key.endswith("_commands") for command in value]


def ray_starts(text: str) -> list[dict[str, Any]]:
    """The options of every `ray start` in shell text, as Ray's own command line reads them."""
    return [start_options(arguments) for arguments in re.findall(r"\bray start ([^\n;&|]*)", text)]


def start_options(arguments: str) -> dict[str, Any]:
    """Options of `ray start ARGUMENTS`. Raises click's UsageError for what it does not know."""
    options: dict[str, Any] = start.make_context("ray start", shlex.split(arguments)).params
    return options


def shell_of_guide() -> list[str]:
    """The guide's shell blocks, with lines that go on joined."""
    return [
        block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    ]
