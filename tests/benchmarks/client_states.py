"""Commits of client states, as the past participants become many: `python -m tests.benchmarks.client_states`.

Rounds of 100 new clients each, every one with a control variate, float32[D], and a mask, bool[D], as its state. Each
round is staged and committed as the driver does it. Printed are the resident memory that has come on top since the
first round, and the time of a commit in the last rounds against that in the first, wall clock and CPU (fsync waits
are in the former only), all of one run; then what a resumption takes, and a read of one past participant's state.
100,000 participants with 20,000 parameters are 10 GB of files; --folder says where, and they are deleted in the end.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation.seeds import stream
from orchestrator.storage.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoint_store import CheckpointStore
from orchestrator.storage.client_states import ClientStates
from orchestrator.storage.saved_states import CACHE_BYTES

BOUND = 1.5
#: rounds that a median is over
SAMPLE = 20
#: share of the disk that stays free
SPARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A client's float32[D] control variate and bool[D] mask."""

    control: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds by the wall clock and of CPU."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Cost:
    """What a call costs."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def resident_bytes() -> int:
    """This process's resident memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def new_states(round_idx: int, per_round: int, num_parameters: int) -> dict[int, Kept]:
    """States of clients that take part for the first time."""
    rng = stream(0, "states", round_idx)
    control = rng.standard_normal(num_parameters, dtype=np.float32)
    return {
        k: Kept(control=torch.from_numpy(control + k), mask=torch.from_numpy(np.roll(control, k) > 0))
        for k in range(round_idx * per_round, (round_idx + 1) * per_round)
    }


def commit_round(
    folder: CheckpointStore,
    states: ClientStates,
    round_idx: int,
    server: dict[str, Tensor],
    changed: dict[int, Kept],
) -> None:
    """From folded to durable and given up."""
    states.stage(round_idx, changed)
    commit = Checkpoint(
        round_idx=round_idx,
        server_state=server,
        client_states=states.staged(round_idx),
        shared_masks=dict.fromkeys(changed, f"mask {round_idx}"),
        totals={},
        log_bytes={},
    )
    folder.write(commit)
    states.commit(round_idx)


def commit_rounds(
    folder: CheckpointStore, num_rounds: int, per_round: int, num_parameters: int
) -> tuple[list[Cost], list[int]]:
    """Each round's cost, from staging its states to giving them up, and the resident bytes after it."""
    states, server = folder.client_states(None), {"params": torch.zeros(num_parameters)}
    costs, resident = [], []
    for round_idx in range(num_rounds):
        changed = new_states(round_idx, per_round, num_parameters)

        costs.append(timed(partial(commit_round, folder, states, round_idx, server, changed)))
        resident.append(resident_bytes())
        if (round_idx + 1) % max(1, num_rounds // 10) == 0:
            print(f"{(round_idx + 1) * per_round} participants", flush=True)
    return costs, resident


def resume(path: Path, num_parameters: int) -> dict[str, float]:
    """A new process's way: verify, index; then states of random clients, one at a time."""
    blank = torch.zeros(num_parameters)
    templates = Templates(server={"params": blank}, client=Kept(control=blank, mask=blank > 0))
    before = resident_bytes()
    started_s = time.perf_counter()
    last = CheckpointStore(path, cache_bytes=0).restore(templates)
    assert last is not None
    open_s, grown = time.perf_counter() - started_s, resident_bytes() - before
    clients = stream(0, "reads").choice(len(last.client_states), min(500, len(last.client_states)))
    reads = [timed(partial(last.client_states.get, int(k))) for k in clients]
    return {
        "resume_s": round(open_s, 2),
        "resume_grown_mib": round(grown / 2**20, 1),
        "read_ms": round(1e3 * median(read.wall_s for read in reads), 3),
    }


def affordable(participants: int, num_parameters: int, folder: Path) -> int:
    """As many participants as the disk holds with something to spare; says so when they are fewer."""
    disk = shutil.disk_usage(folder)
    most = int((disk.free - SPARE * disk.total) / (5.2 * num_parameters))
    if participants <= most:
        return participants
    print(f"{folder} has {disk.free / 1e9:.0f} GB left: {most} participants instead of {participants}")
    return most


def main() -> None:
    """Print progress, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--participants", type=int, default=100_000)
    parser.add_argument("--per-round", type=int, default=100)
    parser.add_argument("--parameters", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path(gettempdir()), help="for 5 bytes a parameter")
    arguments = parser.parse_args()
    participants = affordable(arguments.participants, arguments.parameters, arguments.folder)
    num_rounds = participants // arguments.per_round
    if num_rounds < 2 * SAMPLE:
        parser.error(f"{num_rounds} rounds are too few: give more --participants, or a larger --folder")
    with TemporaryDirectory(dir=arguments.folder) as name:
        path = Path(name)
        costs, resident = commit_rounds(
            CheckpointStore(path), num_rounds, arguments.per_round, arguments.parameters
        )
        resumed = resume(path, arguments.parameters)
    first, last = costs[1 : SAMPLE + 1], costs[-SAMPLE:]
    ratio = median(cost.wall_s for cost in last) / median(cost.wall_s for cost in first)
    cpu_ratio = median(cost.cpu_s for cost in last) / median(cost.cpu_s for cost in first)
    result = {
        "participants": num_rounds * arguments.per_round,
        "parameters": arguments.parameters,
        "states_mib": round(num_rounds * arguments.per_round * 5 * arguments.parameters / 2**20),
        "cache_mib": CACHE_BYTES / 2**20,
        "resident_grown_mib": round((resident[-1] - resident[0]) / 2**20, 1),
        "resident_most_grown_mib": round((max(resident) - resident[0]) / 2**20, 1),
        "resident_grown_in_second_half_mib": round((resident[-1] - resident[num_rounds // 2]) / 2**20, 1),
        "commit_first_ms": round(1e3 * median(cost.wall_s for cost in first), 1),
        "commit_last_ms": round(1e3 * median(cost.wall_s for cost in last), 1),
        "last_over_first": round(ratio, 3),
        "last_over_first_cpu": round(cpu_ratio, 3),
        "bound": BOUND,
        **resumed,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
