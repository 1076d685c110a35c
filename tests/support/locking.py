"""A process that locks a folder as a run does, and ends after a given number of SIGINTs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: arguments: the folder, and the number of SIGINTs that end the process (0: none does)
_SCRIPT = """
import fcntl, json, os, signal, socket, sys, threading

folder, num_needed = sys.argv[1], int(sys.argv[2])
num_received, ended = 0, threading.Event()

def interrupt(signum, frame):
    global num_received
    num_received += 1
    if num_received == num_needed:
        ended.set()

signal.signal(signal.SIGINT, interrupt)
with open(folder + "/lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    file.flush()
    print("locked", flush=True)
    while not ended.wait(0.05):
        pass
"""


@contextmanager
def locking(folder: Path, interrupts: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """Lock `folder` in another process until the block ends. `interrupts` SIGINTs end the process; 0: none does."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _SCRIPT, str(folder), str(interrupts)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()
