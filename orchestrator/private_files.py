"""Keeps the files of a local Ray private: its temporary folder, its token, and everything that its processes write."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.atomic_write import PRIVATE_FILE, PRIVATE_FOLDER

#: permission bits of other users
_OTHERS = 0o077


@contextmanager
def private_umask() -> Iterator[None]:
    """Create files with mode 600 and folders with mode 700 in the block, here and in the processes that it starts.

    The umask belongs to the whole process, so that threads that write files meanwhile get these modes too.
    """
    previous = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(previous)


def temporary_folder(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The name and the value of the environment variable that determines Ray's temporary folder."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if value := environment.get(name):
            return name, value
    return "TMPDIR", "/tmp"


def private_ray_folder(base: Path) -> Path:
    """A folder for Ray's sessions, below `base`, that other users cannot enter; Ray opens its own folders to all users.

    `base` itself is used if no other user can enter it, else its folder `ray-UID`. Paths stay short, because those of
    sockets have at most 107 bytes. Raises OSError when the folder cannot be made, or belongs to another user.
    """
    base = base.absolute()
    base.mkdir(parents=True, exist_ok=True)
    if not _is_private(base):
        base = base / f"ray-{os.getuid()}"
        base.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{base} belongs to another user, or is not a folder")
        base.chmod(PRIVATE_FOLDER)
    return base / "ray"


def token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The file from which Ray reads its token."""
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    return Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"


def close_token_file() -> None:
    """Give mode 600 to the token file that Ray made in the home folder. The user protects a file of another place."""
    file = Path.home() / ".ray" / "auth_token"
    if file.is_file() and not _is_private(file) and file.stat().st_uid == os.getuid():
        file.chmod(PRIVATE_FILE)


def require_private_token(file: Path) -> None:
    """Raise PermissionError, with the remedy, for a token file that other users can read or write."""
    if file.exists() and file.stat().st_mode & _OTHERS:
        mode = stat.S_IMODE(file.stat().st_mode)
        raise PermissionError(
            f"{file} has mode {mode:o}; other users can use the token; run `chmod 600 {file}`"
        )


def require_private_session(folder: Path) -> Path | None:
    """Return the newest session of `ray start` below `folder` if it is this user's; None if there is no such session.

    Raises PermissionError, with the remedy, if other users can read its logs. Ray opens its folders to all users, so
    the umask of `ray start` decides.
    """
    session = folder / "session_latest"
    if not session.is_dir() or session.stat().st_uid != os.getuid():
        return None
    session = session.resolve()
    for path in (session / "logs").glob("*"):
        if path.is_file() and path.stat().st_mode & _OTHERS:
            raise PermissionError(
                f"other users can read the logs in {session} and the code of jobs; end Ray with `ray stop`, delete "
                "this folder, and run `umask 077` before `ray start`"
            )
    return session


def _is_private(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & _OTHERS
