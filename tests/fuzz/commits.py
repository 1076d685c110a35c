"""Resume damaged run folders: `python -m tests.fuzz.commits --mutants 2000`.

The fuzzer first makes runs of a few rounds and records the checkpoint of each round. A mutant is a copy of a run's
folder with one to three kinds of damage: to checkpoints, logs, config.yaml or run.json. Some pointers get another form
and a correct checksum, as another release might write them. A changed pointer in the correct form is not used, because
no checksum can detect it.

These results are findings:
- an error other than CheckpointError or ConfigError is raised, or its message has several lines;
- the run resumes from a state that differs from the checkpoint of that round in one bit: server state, client states,
  shared masks, totals, tasks in flight with their server states, lengths of the logs;
- the run goes back by more than one checkpoint, or goes back without a message although the newest pointer exists;
- a log has another length afterwards than the checkpoint says.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from orchestrator.contract.digest import digest as digest_of
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import resumed_config
from orchestrator.rounds.driver import Driver
from orchestrator.runtime.run_folder import begin_run, run_info, verify_run
from orchestrator.storage.checkpoints.checkpoint import RestoredRun, Templates
from orchestrator.storage.checkpoints.pointer import Pointer, pointer_name, seal
from orchestrator.storage.run_logs import LOGS
from orchestrator.storage.run_store import RunStore
from tests.fuzz.mutation import EXTREMES, mutated
from tests.fuzz.tally import MIB, Tally, command
from tests.support.runs import (
    REMEMBERING,
    initial_state,
    prepared,
)
from tests.support.timing import TIERS

MORE_BYTES = 512 * MIB
_REPORT_EVERY = 100
#: a small network has small states, so that a mutation is likely to hit a relevant byte
_SMALL = ("model.name=tests.support.models:linear",)
_RUNS = {
    "client states": (REMEMBERING, "training.rounds=4"),
    "flights": (REMEMBERING, *TIERS, "training.rounds=4"),
    "one round": (REMEMBERING, "training.rounds=1"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """A finished run, and the digest of the checkpoint of each of its rounds."""

    experiment: Experiment
    folder: Path
    digests: Sequence[str]

    @property
    def newest(self) -> int:
        """The last committed round."""
        return len(self.digests) - 1


def fuzz(seed: int, num_mutants: int) -> Iterator[Tally]:
    """Try `num_mutants` mutants; yield the tally at intervals and at the end."""
    rng, tally = np.random.default_rng([seed, 2]), Tally()
    with TemporaryDirectory() as name:
        originals = [original(Path(name) / key, key) for key in _RUNS]
        yield tally
        for number in range(1, num_mutants + 1):
            one = originals[int(rng.choice(len(originals), p=(0.5, 0.35, 0.15)))]
            folder = copied(one.folder, Path(name) / f"mutant-{number}")
            damages = [damage(rng, folder, one) for _ in range(1 + int(rng.integers(3) * rng.integers(2)))]
            tally.outcomes[outcome(tally, folder, one, f"seed {seed}, mutant {number}: {damages}")] += 1
            shutil.rmtree(folder)
            if number % _REPORT_EVERY == 0:
                yield tally
    yield tally


def outcome(tally: Tally, folder: Path, one: Original, what: str) -> str:
    """Resume a mutant, and return the name of the outcome."""
    had_newest = os.path.lexists(folder / "commits" / pointer_name(one.newest))
    try:
        store = RunStore(folder)
        config = resumed_config(store.config(), [])
        verify_run(store, replace(one.experiment, config=config))
        run_info(store, config)
        restored = store.restore(templates(one.experiment))
        found = None if restored is None else digest(restored)
    except (CheckpointError, ConfigError) as error:
        if len(str(error).splitlines()) != 1:
            return tally.found(f"several lines ({error}): {what}")
        return "rejected"
    except Exception as error:
        return tally.found(f"{type(error).__name__}: {error}: {what}")
    round_idx = -1 if restored is None else restored.round_idx
    if round_idx < one.newest - 1:
        return tally.found(f"went back to round {round_idx}: {what}")
    if found is not None and found != one.digests[round_idx]:
        return tally.found(f"another state of round {round_idx}: {what}")
    if (round_idx < one.newest and had_newest) != (store.skipped_checkpoint is not None):
        return tally.found(f"skipped: {store.skipped_checkpoint}: {what}")
    for log in LOGS:
        if (folder / log).stat().st_size != (restored.log_bytes[log] if restored else 0):
            return tally.found(f"{log} is not cut: {what}")
    return (
        "restored"
        if round_idx == one.newest
        else "no checkpoint"
        if restored is None
        else "one checkpoint back"
    )


def original(folder: Path, key: str) -> Original:
    """Make a run, and record the digest of each round's checkpoint."""
    experiment, digests = prepared(*_SMALL, *_RUNS[key]), []
    store = begin_run(experiment, folder)
    for _ in Driver(experiment, InProcessExecutor(experiment), store).run():
        shutil.copytree(folder, copy := folder.with_name(f"{folder.name}, so far"))
        restored = RunStore(copy).restore(templates(experiment))
        assert restored is not None
        digests.append(digest(restored))
        shutil.rmtree(copy)
    return Original(experiment=experiment, folder=folder, digests=digests)


@cache
def templates(experiment: Experiment) -> Templates:
    """Return the templates that a driver uses."""
    algorithm = experiment.algorithm
    fresh = initial_state(experiment)
    return Templates(server=fresh, client=algorithm.init_client(0))


def digest(restored: RestoredRun) -> str:
    """Return the digest of all state from which a driver resumes; a repair may change the lengths of logs."""
    states = [restored.server_state, *(state for _, state in sorted(restored.earlier_states.items()))]
    clients = {k: digest_of(restored.client_states[k]) for k in sorted(restored.client_states)}
    masks, totals = sorted(restored.shared_masks.items()), sorted(restored.totals.items())
    rest = (
        restored.round_idx,
        clients,
        masks,
        totals,
        restored.in_flight,
    )
    return sha256(repr((list(map(digest_of, states)), rest)).encode()).hexdigest()


def copied(folder: Path, to: Path) -> Path:
    """Copy a run's folder; the files of checkpoints are hard links, because nothing writes to them."""
    (to / "commits").mkdir(parents=True)
    for path in (folder / "commits").iterdir():
        os.link(path, to / "commits" / path.name)
    for name in (*LOGS, "config.yaml", "run.json"):
        shutil.copyfile(folder / name, to / name)
    return to


def damage(rng: np.random.Generator, folder: Path, one: Original) -> str:
    """Damage the folder in one way, and return a description."""
    kinds: Sequence[Callable[[np.random.Generator, Path, Original], str]] = (
        _damage_commit,
        _damage_commit,
        _damage_commit,
        _reseal,
        _damage_log,
        _damage_description,
    )
    return kinds[int(rng.integers(len(kinds)))](rng, folder, one)


def _damage_commit(rng: np.random.Generator, folder: Path, one: Original) -> str:
    """Change, delete, replace or rename a file of a checkpoint, mostly of the newest one."""
    paths = sorted((folder / "commits").iterdir())
    newest = [path for path in paths if f"-{one.newest:06d}" in path.name]
    choice = newest if newest and rng.random() < 0.7 else paths
    if not choice:
        return "no file left"
    path = choice[int(rng.integers(len(choice)))]
    other = paths[int(rng.integers(len(paths)))]
    match int(rng.integers(8)):
        case 0:
            return _delete(path)
        case 1:
            return _put(
                path, other.read_bytes() if other.is_file() else b"", f"has the content of {other.name}"
            )
        case 2:
            name = path.name.replace(path.stem[-6:], f"{int(rng.integers(one.newest + 3)):06d}")
            if name != path.name:
                _delete(path.with_name(name))
                path.rename(path.with_name(name))
            return f"{path.name} is called {name}"
        case 3:
            _delete(path)
            path.mkdir()
            return f"{path.name} is a folder"
        case _:
            return _mutate(rng, path, paths)


def _reseal(rng: np.random.Generator, folder: Path, one: Original) -> str:
    """Give a pointer another form and a correct checksum."""
    path = folder / "commits" / pointer_name(int(rng.integers(one.newest + 1)))
    try:
        content = json.loads(path.read_bytes())
        content.pop("sha256")
    except (OSError, ValueError, AttributeError, KeyError, RecursionError):
        return f"{path.name} is not a pointer any more"
    strange: Sequence[object] = (
        None,
        True,
        -1,
        1.5,
        "x",
        [],
        ["x"],
        {},
        {"x": None},
        {"": -1},
        *EXTREMES[-2:],
    )
    key = sorted(content)[int(rng.integers(len(content)))]
    inner = content[key]
    match int(rng.integers(4)):
        case 0:
            del content[key]
        case 1 if isinstance(inner, dict) and inner:
            inner[min(inner)] = strange[int(rng.integers(len(strange)))]
        case 2 if isinstance(inner, list) and inner:
            inner[0] = strange[int(rng.integers(len(strange)))]
        case _:
            content[key] = strange[int(rng.integers(len(strange)))]
    if _is_valid_pointer(content, one):
        return f"{path.name} as it was"
    return _put(path, seal(content), f"with another {key}")


def _is_valid_pointer(content: dict[str, object], one: Original) -> bool:
    """Whether a pointer has the correct form; the loader cannot detect changed content in the correct form."""
    with TemporaryDirectory() as name:
        round_idx = content.get("round_idx")
        if type(round_idx) is not int or not 0 <= round_idx <= one.newest:
            return False
        path = Path(name) / pointer_name(round_idx)
        path.write_bytes(seal(content))
        try:
            Pointer.read(path)
        except CheckpointError:
            return False
        return True


def _damage_log(rng: np.random.Generator, folder: Path, one: Original) -> str:
    """Make a log longer or shorter, or change its last round."""
    path = folder / LOGS[int(rng.integers(len(LOGS)))]
    if not path.exists():
        return f"{path.name} was deleted before"
    data = path.read_bytes()
    match int(rng.integers(4)):
        case 0:
            return _put(path, data + rng.bytes(int(rng.integers(1, 200))), "has more at its end")
        case 1:
            return _put(path, data[: int(rng.integers(len(data) + 1))], "is shorter")
        case 2:
            return _delete(path)
        case _:
            return _put(path, data[:-2] + rng.bytes(2), "ends in other bytes")


def _damage_description(rng: np.random.Generator, folder: Path, one: Original) -> str:
    paths = [folder / "config.yaml", folder / "run.json"]
    return _mutate(rng, paths[int(rng.integers(2))], paths)


def _mutate(rng: np.random.Generator, path: Path, others: Sequence[Path]) -> str:
    if not path.is_file():
        return f"{path.name} is not a file any more"
    contents = [other.read_bytes() for other in others if other.is_file()]
    return _put(path, mutated(rng, path.read_bytes(), contents), "is mutated")


def _put(path: Path, data: bytes, what: str) -> str:
    _delete(path)
    path.write_bytes(data)
    return f"{path.name} {what}"


def _delete(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return f"{path.name} is gone"


if __name__ == "__main__":
    sys.exit(command("commits", "--mutants", 2_000, fuzz, MORE_BYTES))
