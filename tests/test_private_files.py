"""Private folders, tokens and umask of a local Ray, under the usual umask 022."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.private_files import (
    close_token_file,
    private_ray_folder,
    private_umask,
    require_private_session,
    require_private_token,
    temporary_folder,
    token_file,
)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    previous = os.umask(0o022)
    yield
    os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_of_the_block_are_private_and_later_files_are_not(tmp_path: Path) -> None:
    with private_umask():
        (tmp_path / "inside").write_text("")
    (tmp_path / "after").write_text("")
    assert (mode(tmp_path / "inside"), mode(tmp_path / "after")) == (0o600, 0o644)


def test_umask_is_restored_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), private_umask():  # noqa: PT011 - raised here
        raise ValueError
    (tmp_path / "after").write_text("")
    assert mode(tmp_path / "after") == 0o644


def test_shared_folder_gets_a_private_folder_for_this_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    for _ in range(2):
        assert private_ray_folder(tmp_path) == tmp_path / f"ray-{os.getuid()}" / "ray"
        assert mode(tmp_path / f"ray-{os.getuid()}") == 0o700
        (tmp_path / f"ray-{os.getuid()}").chmod(0o755)


def test_private_folder_is_used_as_it_is(tmp_path: Path) -> None:
    """Its path may be so long that a socket below a further folder would not fit."""
    (tmp_path / "mine").mkdir(mode=0o700)
    assert private_ray_folder(tmp_path / "mine") == tmp_path / "mine" / "ray"


def test_missing_folder_is_made(tmp_path: Path) -> None:
    with private_umask():
        assert private_ray_folder(tmp_path / "new" / "tmp") == tmp_path / "new" / "tmp" / "ray"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_prepared_link_or_file_is_rejected(tmp_path: Path, kind: str) -> None:
    """Another user who can write into the shared folder may have made it."""
    tmp_path.chmod(0o1777)
    place = tmp_path / f"ray-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere") if kind == "link" else place.write_text("")
    with pytest.raises(OSError, match="ray-"):
        private_ray_folder(tmp_path)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("TMPDIR", "/tmp")),
        ({"TMPDIR": "/scratch"}, ("TMPDIR", "/scratch")),
        ({"TMPDIR": "/scratch", "RAY_TMPDIR": "/fast"}, ("RAY_TMPDIR", "/fast")),
        ({"RAY_TMPDIR": ""}, ("TMPDIR", "/tmp")),
    ],
)
def test_users_variables_name_the_temporary_folder(
    environment: dict[str, str], expected: tuple[str, str]
) -> None:
    assert temporary_folder(environment) == expected


def test_token_file_in_the_home_folder_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    close_token_file()  # nothing to close
    file = token_file({})
    file.parent.mkdir()
    file.write_text("secret")
    with pytest.raises(PermissionError, match="chmod 600"):
        require_private_token(file)
    close_token_file()
    assert mode(file) == 0o600
    require_private_token(file)


def test_named_token_file_is_the_users_own(tmp_path: Path) -> None:
    assert token_file({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}) == tmp_path / "token"
    require_private_token(tmp_path / "token")


@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_session_of_ray_start_is_private_after_a_private_umask_alone(tmp_path: Path, umask: int) -> None:
    """Ray opens the folders to all users in any case."""
    assert require_private_session(tmp_path) is None
    os.umask(umask)
    session = tmp_path / "session_1"
    (session / "logs").mkdir(parents=True)
    (session / "logs" / "gcs.out").write_text("")
    for folder in (session, session / "logs"):
        folder.chmod(0o777)
    (tmp_path / "session_latest").symlink_to(session)
    if umask == 0o077:
        assert require_private_session(tmp_path) == session
    else:
        with pytest.raises(PermissionError, match="umask 077"):
            require_private_session(tmp_path)
