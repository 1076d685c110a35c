"""Time the transfer of encoded updates between two processes: `python -m tests.benchmarks.transfer`.

A process encodes an update of 11.2 million parameters (ResNet-18) and sends it through a TCP connection of this
machine. The other process receives it, decodes it and answers. As in SSFL after its first round, both ends know the
mask, so that an update contains only values. The updates alternate within each repeat. The table has the median
seconds of each density, its ratio to the dense update, and the emulated seconds on a link with `--mbit` megabits a
second.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import struct
import time

import numpy as np
import torch

from orchestrator.federation.exchange import pack_model, unpack_model
from orchestrator.sparsity.payload import Masked, Payload
from orchestrator.sparsity.wire import decode, encode
from tests.benchmarks.wire import PARAMETERS, layout_of

DENSITIES = (1.0, 0.5, 0.1, 0.05)


def update(density: float) -> tuple[Payload, dict[str, np.ndarray]]:
    """An update under a random mask, and the mask by the name of its item, which both ends know."""
    rng, layout = np.random.default_rng(0), layout_of(PARAMETERS)
    values = torch.from_numpy(rng.standard_normal(PARAMETERS).astype(np.float32))
    mask = torch.from_numpy(rng.random(PARAMETERS) < density) if density < 1.0 else None
    item = pack_model(layout, values, mask)
    return (item,), {item.name: item.mask} if isinstance(item, Masked) else {}


def receive_exactly(connection: socket.socket, size: int) -> bytearray:
    """The next `size` bytes. Raises ConnectionError if the other end closes the connection."""
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        received = connection.recv_into(view[done:])
        if not received:
            raise ConnectionError("the other process closed the connection")
        done += received
    return buffer


def serve(port: int) -> None:
    """Receive updates of the densities in turn, decode each, and answer with one byte; an empty one ends."""
    torch.set_num_threads(1)
    layout, masks = layout_of(PARAMETERS), [update(density)[1] for density in DENSITIES]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"r")
        turn = 0
        while size := struct.unpack("<Q", receive_exactly(connection, 8))[0]:
            buffer = np.frombuffer(receive_exactly(connection, size), np.uint8)
            unpack_model(layout, decode(buffer, known_masks=masks[turn % len(masks)]))
            connection.sendall(b"d")
            turn += 1


def measure(repeats: int) -> tuple[list[list[float]], list[int]]:
    """Seconds of each density's transfers, and its bytes. One unmeasured pass comes first."""
    updates = [update(density) for density in DENSITIES]
    seconds, sizes = [list[float]() for _ in DENSITIES], [0 for _ in DENSITIES]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
        process.start()
        connection, _ = server.accept()
        with connection:
            receive_exactly(connection, 1)
            for repeat in range(repeats + 1):
                for turn, (payload, known) in enumerate(updates):
                    started = time.perf_counter()
                    buffer = encode(payload, known_masks=known)
                    connection.sendall(struct.pack("<Q", len(buffer)))
                    connection.sendall(buffer)
                    receive_exactly(connection, 1)
                    if repeat:
                        seconds[turn].append(time.perf_counter() - started)
                    sizes[turn] = len(buffer)
            connection.sendall(struct.pack("<Q", 0))
        process.join()
    return seconds, sizes


def main() -> None:
    """Print the table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--mbit", type=float, default=100.0, help="bandwidth of the emulated link")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds, sizes = measure(arguments.repeats)
    print("| density | bytes | measured | dense / this | emulated | dense / this |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for density, own, size in zip(DENSITIES, seconds, sizes, strict=True):
        speedup = statistics.median(dense / sparse for dense, sparse in zip(seconds[0], own, strict=True))
        emulated_s = 8e-6 * size / arguments.mbit
        rows.append({"density": density, "bytes": size, "measured_s": statistics.median(own),
                     "speedup": speedup, "emulated_s": emulated_s, "emulated_speedup": sizes[0] / size})  # fmt: skip
        print(f"| {density:g} | {size / 1e6:.1f} MB | {1e3 * rows[-1]['measured_s']:.1f} ms | {speedup:.1f} | "
              f"{emulated_s:.2f} s | {sizes[0] / size:.1f} |")  # fmt: skip
    print(json.dumps({"mbit": arguments.mbit, "rows": rows}))


if __name__ == "__main__":
    main()
