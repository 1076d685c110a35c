"""Sends files to MLflow one by one, so that a retry sends only the files that have not arrived."""

from collections.abc import Callable
from pathlib import Path


def send_files(
    folder: Path, send: Callable[[str, str | None], object], sent: set[str], *, owner: str = ""
) -> None:
    """Send the files of a folder that are not in `sent`, and add each file, as owner and path, when it has arrived.

    `send` gets a file and its target folder (None: the root), and may raise any error of the client.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        key = f"{owner}/{name.as_posix()}"
        if key not in sent:
            send(str(path), None if name.parent == Path() else name.parent.as_posix())
            sent.add(key)
