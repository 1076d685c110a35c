"""Search files, texts and the command lines of all processes for secrets, and files that other users can read."""

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: seconds between two looks at all command lines
_INTERVAL_S = 0.05


class Secrets:
    """Values that must be written nowhere. `shown` collects the command lines that contained one of them."""

    def __init__(self, *values: str) -> None:
        assert all(values), "an empty value is in every text"
        self._values = [value.encode() for value in values]
        self.shown: set[str] = set()

    def are_in(self, text: str) -> bool:
        """Whether a text contains a secret."""
        return any(value in text.encode() for value in self._values)

    def files(self, *folders: Path) -> list[Path]:
        """The files below these folders that contain a secret."""
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert files, f"nothing is in {folders}"
        return [path for path in files if any(value in path.read_bytes() for value in self._values)]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the command lines of all processes until the block ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(_INTERVAL_S):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # the process has ended
                    line = path.read_bytes()
                    if any(value in line for value in self._values):
                        self.shown.add(line.replace(b"\0", b" ").decode(errors="replace"))


def readable_by_others(path: Path) -> Iterator[Path]:
    """The files below `path` that other users can reach and read, write or run; `path` itself counts as reachable."""
    mode = path.lstat().st_mode
    if not mode & 0o077 or stat.S_ISLNK(mode):
        return
    if stat.S_ISDIR(mode):
        for child in path.iterdir():
            yield from readable_by_others(child)
    else:
        yield path
