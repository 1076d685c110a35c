"""Send one array to tasks on one node, first as one object and then as copies.

`python -m tests.support.multinode_copies N NODE`

NODE is the name of the node; N is the number of tasks. The node's store receives 1 object, and then N objects.
"""

import sys
from typing import Any

import numpy as np
import ray

#: more than the size up to which Ray sends an object inside a call
_NUM_BYTES = 2**18


def main(num_tasks: int, node: str) -> None:
    """Run the tasks on the connected cluster."""
    ray.init("auto", log_to_driver=False)
    task = ray.remote(_length).options(num_cpus=0, resources={node: 0.01})
    array = np.zeros(_NUM_BYTES, dtype=np.uint8)
    one = ray.put(array)
    _await([task.remote(one) for _ in range(num_tasks)])
    copies = [ray.put(array) for _ in range(num_tasks)]
    _await([task.remote(copy) for copy in copies])


def _length(array: Any) -> int:
    return len(array)


def _await(lengths: list[Any]) -> None:
    assert set(ray.get(lengths)) == {_NUM_BYTES}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
