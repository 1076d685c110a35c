"""A process that holds a folder as a run does, and ends at SIGINT as it is told."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: argv: folder, how many SIGINTs end it (0: none does)
_HOLDING = """
import fcntl, json, os, signal, socket, sys, threading

folder, needed = sys.argv[1], int(sys.argv[2])
came, over = 0, threading.Event()

def interrupt(signum, frame):
    global came
    came += 1
    if came == needed:
        over.set()

signal.signal(signal.SIGINT, interrupt)
with open(folder + "/lock", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    file.flush()
    print("held", flush=True)
    while not over.wait(0.05):
        pass
"""


@contextmanager
def holding(folder: Path, interrupts: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """Hold `folder` in another process, which so many SIGINTs end (0: none does), for the block."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", _HOLDING, str(folder), str(interrupts)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()
