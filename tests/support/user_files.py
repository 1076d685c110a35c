"""A user's own method, model, search space and fleet, in a folder outside of the project, with their neighbours."""

from pathlib import Path

#: relative name -> content. `helper.py` and `parts/` are neighbours; `unused.py` is not needed by any of the others
FILES = {
    "method.py": '''
"""FedAvg with scaled uploads."""
from pydantic import Field

import helper
from orchestrator.method import (
    Algorithm, AlgorithmConfig, Capabilities, LocalRun, Payload, ServerState, pack_model
)


class Options(AlgorithmConfig):
    scale: float = Field(1.0, gt=0.0, description="factor of the uploaded weights")


class Mine(Algorithm[ServerState, None]):
    """FedAvg with scaled uploads."""

    Config = Options
    capabilities = Capabilities(aggregation="wmean")

    def pack(self, run: LocalRun[None]) -> Payload:
        return (pack_model(self.setting.layout, helper.scaled(run.values, self.config.scale), None),)
''',
    "helper.py": "def scaled(values, scale):\n    return values * scale\n",
    "net.py": '''
"""A small perceptron from two neighbours."""
from parts.blocks import hidden
from torch import nn


def build(input_shape, num_classes):
    from parts import WIDTH

    return nn.Sequential(nn.Flatten(), *hidden(input_shape, WIDTH), nn.Linear(WIDTH, num_classes))
''',
    "parts/__init__.py": "WIDTH = 8\n",
    "parts/blocks.py": """
from math import prod
from torch import nn


def hidden(input_shape, width):
    return nn.Linear(prod(input_shape), width), nn.ReLU()
""",
    "space.py": '''
"""A range of learning rates."""
from ray import tune

from choices import RATES

SPACE = {"training.lr": tune.uniform(*RATES)}
MUTATIONS = {"training.lr": tune.uniform(*RATES)}
''',
    "grid.py": '''
"""Two learning rates, one after the other."""
from ray import tune

from choices import RATES

SPACE = {"training.lr": tune.grid_search(RATES)}
''',
    "choices.py": "RATES = [0.05, 0.1]\n",
    "street.yaml": """
name: street
trace: devices.csv
profiles:
  - {name: phone, flops_per_s: 1.0e9, uplink_bytes_per_s: 1.0e6, downlink_bytes_per_s: 5.0e6}
  - {name: box, flops_per_s: 1.0e10, uplink_bytes_per_s: 1.0e6, downlink_bytes_per_s: 5.0e6}
""",
    "devices.csv": "client,profile\n0,phone\n1,box\n2,phone\n3,box\n",
    "unused.py": "raise AssertionError('nobody imports this file')\n",
}
METHOD, MODEL, FLEET = (
    "algorithm.name=method.py:Mine",
    "model.name=net.py:build",
    "fleet.name=street.yaml",
)
#: kind -> the override that names the user's file, and all files that it needs
KINDS = {
    "method": (METHOD, {"method.py", "helper.py"}),
    "model": (MODEL, {"net.py", "parts/__init__.py", "parts/blocks.py"}),
    "fleet": (FLEET, {"street.yaml", "devices.csv"}),
}


def write_user_files(folder: Path) -> Path:
    """Write all files into a new folder; modules of the names of the project's packages try to replace these."""
    decoys = {"orchestrator.py": FILES["unused.py"], "algorithms/__init__.py": FILES["unused.py"]}
    for name, content in {**FILES, **decoys}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder
