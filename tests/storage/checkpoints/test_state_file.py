"""State files: each state is read back exactly, without reading the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.state_file import encode, read, verify

STATES: dict[str, Callable[[int], object]] = {
    "a number": lambda n: n,
    "nothing": lambda n: None,
    "no leaves": lambda n: {},
    "a tensor": lambda n: torch.tensor([n, n + 1]),
    "a tuple": lambda n: (torch.tensor(float(n)), True, "a / b", float("inf")),
    "a mapping": lambda n: {"1": torch.zeros(n, 2, dtype=torch.bool), "11": n, "é": None},
}


@pytest.mark.parametrize("form", STATES)
def test_states_with_similar_names_are_kept_apart(tmp_path: Path, form: str) -> None:
    """The name of client 1 is a prefix of the names of clients 11 and 111."""
    make, path = STATES[form], tmp_path / "file"
    path.write_bytes(encode({str(k): make(k) for k in (111, 1, 11)}))
    for k in (1, 11, 111):
        assert repr(read(path, str(k), make(5))) == repr(make(k))


def test_read_loads_only_the_tensors_of_the_state(tmp_path: Path) -> None:
    """Overwritten tensors of other states do not matter, and the result does not keep the whole file in memory."""
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


def test_read_state_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode({"1": torch.ones(1000)}))
    found = read(path, "1", torch.zeros(1))
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(found, torch.ones(1000))


@pytest.mark.parametrize("content", [None, b"", b"12345678", b"\x02\0\0\0\0\0\0\0{}"])
def test_unreadable_file_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file cannot be read") as caught:
        read(tmp_path / "file", "1", 0)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_state_is_rejected_as_another_method_version(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encode({"1": 5}))
    with pytest.raises(CheckpointError, match="file has no '2': another version"):
        read(tmp_path / "file", "2", 0)


def test_verify_compares_the_checksum_of_the_whole_file(tmp_path: Path) -> None:
    """The SHA-256 of "abc", as FIPS 180-4's examples give it."""
    path, digest = tmp_path / "file", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abc")
    verify(path, digest)
    path.write_bytes(b"abd")
    with pytest.raises(CheckpointError, match="file is corrupt"):
        verify(path, digest)
    path.unlink()
    with pytest.raises(CheckpointError, match="file cannot be read"):
        verify(path, digest)
