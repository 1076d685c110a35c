"""Files of states: each comes back to the bit, without the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.storage.state_file import encode, read, verify

STATES: dict[str, Callable[[int], object]] = {
    "a number": lambda n: n,
    "nothing": lambda n: None,
    "no leaves": lambda n: {},
    "a tensor": lambda n: torch.tensor([n, n + 1]),
    "a tuple": lambda n: (torch.tensor(float(n)), True, "a / b", float("inf")),
    "a mapping": lambda n: {"1": torch.zeros(n, 2, dtype=torch.bool), "11": n, "é": None},
}


@pytest.mark.parametrize("form", STATES)
def test_a_state_of_any_form_is_told_from_its_neighbours(tmp_path: Path, form: str) -> None:
    """Clients 1, 11 and 111: one's name begins another's."""
    make, path = STATES[form], tmp_path / "file"
    path.write_bytes(encode({str(k): make(k) for k in (111, 1, 11)}))
    for k in (1, 11, 111):
        assert repr(read(path, str(k), make(5))) == repr(make(k))


def test_only_the_tensors_asked_for_are_read(tmp_path: Path) -> None:
    """The others are overwritten in between: what is read is not theirs, nor is it kept in their memory."""
    path = tmp_path / "file"
    path.write_bytes(encode({str(k): torch.full((1000,), float(k)) for k in (1, 2, 3)}))
    for number in (1, 3):
        values = torch.full((1000,), float(number)).numpy().tobytes()
        assert path.read_bytes().count(values) == 1
        path.write_bytes(path.read_bytes().replace(values, bytes(4000)))
    found = read(path, "2", torch.zeros(1))
    assert torch.equal(found, torch.full((1000,), 2.0))
    assert found.untyped_storage().nbytes() == 4000
    assert torch.equal(read(path, "3", torch.zeros(1)), torch.zeros(1000))


def test_what_was_read_stays_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode({"1": torch.ones(1000)}))
    found = read(path, "1", torch.zeros(1))
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(found, torch.ones(1000))


@pytest.mark.parametrize("content", [None, b"", b"12345678", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file cannot be read .* start a new run") as caught:
        read(tmp_path / "file", "1", 0)
    assert len(str(caught.value).splitlines()) == 1


def test_a_name_that_is_not_there_is_another_version_s(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encode({"1": 5}))
    with pytest.raises(CheckpointError, match="file lacks '2': it is of another version of the method"):
        read(tmp_path / "file", "2", 0)


def test_a_checksum_is_that_of_the_whole_file(tmp_path: Path) -> None:
    """The SHA-256 of "abc", as FIPS 180-4's examples give it."""
    path, digest = tmp_path / "file", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abc")
    verify(path, digest)
    path.write_bytes(b"abd")
    with pytest.raises(CheckpointError, match="file is corrupt: its checksum differs"):
        verify(path, digest)
    path.unlink()
    with pytest.raises(CheckpointError, match="file cannot be read"):
        verify(path, digest)
