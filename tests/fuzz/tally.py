"""The counts and output of a fuzzer, and its bound on memory."""

import resource
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MIB = 2**20
#: number of findings that are printed
_MAX_SHOWN = 20


@dataclass
class Tally:
    """Counts outcomes by name, and collects findings, which are outcomes that must not happen."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def num_inputs(self) -> int:
        """Number of inputs tried."""
        return self.outcomes.total()

    def found(self, what: str) -> str:
        """Record a finding, and return the name of its outcome."""
        self.findings.append(what)
        return "FINDING"

    def line(self) -> str:
        """Return all outcomes on one line."""
        parts = (f"{count:,} {name}" for name, count in sorted(self.outcomes.items()))
        return f"{self.num_inputs:,} inputs: {', '.join(parts) or 'none'}"


@contextmanager
def bounded_memory(more_bytes: int) -> Iterator[None]:
    """Limit this process to `more_bytes` of additional address space; larger requests raise MemoryError."""
    with open("/proc/self/statm") as file:
        now_bytes = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + more_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def command(
    name: str, flag: str, default: int, fuzz: Callable[[int, int], Iterator[Tally]], more_bytes: int
) -> int:
    """Run `fuzz(seed, number)`, which yields its tally at intervals, from the command line; return the exit code."""
    parser = ArgumentParser(prog=f"python -m tests.fuzz.{name}")
    parser.add_argument(
        flag, dest="number", type=int, default=default, help=f"how many inputs (default {default})"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the inputs (default 0)")
    arguments = parser.parse_args()
    started_s, tallies = time.monotonic(), fuzz(arguments.seed, arguments.number)
    tally, before_bytes = next(tallies), peak_bytes()
    with bounded_memory(more_bytes):
        for tally in tallies:
            print(f"\r{tally.line()}, {len(tally.findings)} findings", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for finding in tally.findings[:_MAX_SHOWN]:
        print(f"FINDING {finding}")
    print(f"{name}, seed {arguments.seed}: {tally.line()}")
    print(
        f"{len(tally.findings)} findings in {time.monotonic() - started_s:.1f} s; peak memory "
        f"{(peak_bytes() - before_bytes) / MIB:.1f} MiB above the start, {more_bytes / MIB:.0f} MiB allowed"
    )
    return 1 if tally.findings or tally.num_inputs < arguments.number else 0
