"""Sends one array to tasks on one node, once and then as copies.

`python -m tests.support.multinode_copies N NODE`

NODE is its name; N is the number of tasks. What the node's store receives is 1 object, and then N.
"""

import sys
from typing import Any

import numpy as np
import ray

#: above what Ray sends along with a call
_NUM_BYTES = 2**18


def main(num_tasks: int, node: str) -> None:
    """Run the tasks on the connected cluster."""
    ray.init("auto", log_to_driver=False)
    there = ray.remote(_length).options(num_cpus=0, resources={node: 0.01})
    array = np.zeros(_NUM_BYTES, dtype=np.uint8)
    one = ray.put(array)
    _await([there.remote(one) for _ in range(num_tasks)])
    copies = [ray.put(array) for _ in range(num_tasks)]
    _await([there.remote(copy) for copy in copies])


def _length(array: Any) -> int:
    return len(array)


def _await(lengths: list[Any]) -> None:
    assert set(ray.get(lengths)) == {_NUM_BYTES}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
