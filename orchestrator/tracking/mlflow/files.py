"""Files on their way to MLflow, one by one: a store that fails now and then gets each of them once."""

from collections.abc import Callable
from pathlib import Path


def send_files(
    folder: Path, send: Callable[[str, str | None], object], sent: set[str], *, owner: str = ""
) -> None:
    """Send a folder's files that are not in `sent`, and note each there, by owner and path, once it has arrived.

    `send` takes a file and the folder that it goes into (None: the topmost), and raises what the client raises.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        mark = f"{owner}/{name.as_posix()}"
        if mark not in sent:
            send(str(path), None if name.parent == Path() else name.parent.as_posix())
            sent.add(mark)
