"""The choice of Parquet files: one set of files per part, a note about other files, and rejected folders."""

from pathlib import Path

import pytest

from orchestrator.data.loaders.parquet_files import find_files
from orchestrator.errors import DataError


def put(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("train", "test", "unused"),
    [
        (["train.parquet"], [], []),
        (["train.parquet"], ["test.parquet"], []),
        (["train.parquet"], ["valid.parquet"], []),
        (["train.parquet"], ["validation-00000-of-00001.parquet"], []),
        (["Training.parquet"], ["Test.parquet"], []),
        (["train.parquet"], ["test.parquet"], ["validation.parquet"]),
        (["train-00000-of-00001.parquet"], ["test.parquet"], ["train_small.parquet"]),
        (["train-00000-of-00002-0a1b2c.parquet", "train-00001-of-00002-ffee01.parquet"], [], []),
        (["train.parquet"], [], ["data/train.parquet", "other.parquet", "testimony.parquet"]),
        (["train_1.parquet", "train_2.parquet", "train_10.parquet"], ["test1.parquet"], []),
        (["train-part0.parquet", "train-part1.parquet"], [], []),
    ],
)
def test_conventional_files_are_read_in_the_order_of_their_numbers(
    tmp_path: Path, train: list[str], test: list[str], unused: list[str]
) -> None:
    put(tmp_path, [*train, *test, *unused, ".cache/train.parquet", "README.md"])
    found = find_files(tmp_path)
    assert [file.name for file in found.train] == train
    assert [file.name for file in found.test] == test
    note = f"left out of {tmp_path}: {', '.join(unused)} (not the training or the test part)"
    assert found.notes == ((note,) if unused else ())


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "no train*.parquet"),
        (["train_small.parquet"], "no train*.parquet, but train_small.parquet"),
        (["data/train.parquet"], "no train*.parquet, but data/train.parquet"),
        (
            ["train.parquet", "train-00000-of-00001.parquet"],
            "train-00000-of-00001.parquet, train.parquet are different sets",
        ),
        (["train.parquet", "training.parquet"], "different sets"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"], "different sets"),
        (["train1.parquet", "train_1.parquet"], "different sets"),
        (
            ["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
            "2 of 3 files like train-00000-of-00003.parquet; number 1",
        ),
        (
            ["train.parquet", "test-00001-of-00002.parquet"],
            "1 of 2 files like test-00001-of-00002.parquet; number 0",
        ),
    ],
)
def test_ambiguous_or_missing_files_are_rejected(tmp_path: Path, names: list[str], problem: str) -> None:
    put(tmp_path, names)
    with pytest.raises(DataError) as caught:
        find_files(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)
    assert problem in caught.value.problem
