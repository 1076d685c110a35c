"""Measure checkpoints with many past participants: `python -m tests.benchmarks.client_states`.

Each round has 100 new clients. The state of a client is a control variate, float32[D], and a mask, bool[D]. Each
round is staged and committed as the driver does it. In one run the command measures:

- the resident memory above the memory after the first round;
- the time of a checkpoint in the last rounds over the time in the first rounds, as wall time and as CPU time (only the
  wall time contains the waits for fsync);
- the time to resume, and the time to read the state of one past participant.

100,000 participants with 20,000 parameters need 10 GB of files in --folder. The files are deleted at the end.
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
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.saved_states import CACHE_BYTES

BOUND = 1.5
#: number of rounds of each median
SAMPLE = 20
#: fraction of the disk that stays free
SPARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlState:
    """The state of a client: a float32[D] control variate and a bool[D] mask."""

    control: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds and CPU seconds."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Cost:
    """Return the cost of a call."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def new_states(round_idx: int, per_round: int, num_parameters: int) -> dict[int, ControlState]:
    """Return the states of the round's new clients."""
    rng = stream(0, "states", round_idx)
    control = rng.standard_normal(num_parameters, dtype=np.float32)
    return {
        k: ControlState(control=torch.from_numpy(control + k), mask=torch.from_numpy(np.roll(control, k) > 0))
        for k in range(round_idx * per_round, (round_idx + 1) * per_round)
    }


def commit_round(
    folder: CheckpointStore,
    states: ClientStates,
    round_idx: int,
    server: dict[str, Tensor],
    changed: dict[int, ControlState],
) -> None:
    """Stage and commit the states of a round."""
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
    """Return the cost of each round, from staging to committing, and the resident bytes after each round."""
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
    """Resume as a new process does: verify and index all files; then read the states of random clients one by one."""
    blank = torch.zeros(num_parameters)
    templates = Templates(server={"params": blank}, client=ControlState(control=blank, mask=blank > 0))
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
    """Return the number of participants for which the disk has space; print a line if it is smaller than requested."""
    disk = shutil.disk_usage(folder)
    limit = int((disk.free - SPARE * disk.total) / (5.2 * num_parameters))
    if participants <= limit:
        return participants
    print(f"{folder} has {disk.free / 1e9:.0f} GB left: {limit} participants instead of {participants}")
    return limit


def main() -> None:
    """Print progress, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--participants", type=int, default=100_000)
    parser.add_argument("--per-round", type=int, default=100)
    parser.add_argument("--parameters", type=int, default=20_000)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(gettempdir()),
        help="folder for the files: 5 bytes for each parameter of each participant",
    )
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
