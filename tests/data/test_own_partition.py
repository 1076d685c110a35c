"""Partitions by users' functions: arguments, test parts, and rejected results."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.partition import Partition, make_partition
from orchestrator.errors import PartitionError
from tests.data.conftest import MakeDataset


def split(folder: Path, make_dataset: MakeDataset, body: str, **options: object) -> Partition:
    file = folder / "mine.py"
    file.write_text(f"import numpy as np\n\n\ndef own(dataset, num_clients, rng, **options):\n    {body}\n")
    partition = {"kind": f"{file}:own", "options": options}
    config = DataConfig.model_validate({"partition": partition, "validation_fraction": 0.0})
    dataset = make_dataset([0, 1, 2] * 4, [0, 1, 2] * 4)
    return make_partition(dataset, config, 3, np.random.default_rng(5))


def test_function_decides_with_its_options(tmp_path: Path, make_dataset: MakeDataset) -> None:
    body = "return (dataset.train_labels + options['shift']) % num_clients"
    partition = split(tmp_path, make_dataset, body, shift=1)
    assert [sorted(rows % 3) for rows in partition.train] == [[2] * 4, [0] * 4, [1] * 4]
    # each client has one class, so its test samples have this class
    assert [set(rows % 3) for rows in partition.test] == [{2}, {0}, {1}]


def test_unused_samples_are_reported(tmp_path: Path, make_dataset: MakeDataset) -> None:
    partition = split(tmp_path, make_dataset, "return np.array([0, 0, 1, 1, 2, 2] + [-1] * 6)")
    assert partition.train.sizes().tolist() == [2, 2, 2]
    assert "6 of 12 training samples are left out" in partition.notes[0]


def test_random_numbers_come_from_the_stream_of_the_run(tmp_path: Path, make_dataset: MakeDataset) -> None:
    body = "return rng.permutation(np.arange(12) % 3)"
    prints = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prints.add(tuple(split(tmp_path / name, make_dataset, body).train.indices))
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return np.zeros(5, int)", "int64(5,) for 12 samples"),
        ("return np.zeros(12)", "float64(12,)"),
        ("return np.arange(12)", "clients from 0 to 11"),
        ("return np.arange(12) % 3 - 2", "clients from -2 to 0"),
        ("return np.zeros(12, int)", "client 1 has 0 training samples"),
        ("raise KeyError('alpha')", "the function raised KeyError: 'alpha'"),
    ],
)
def test_unusable_results_are_rejected(
    tmp_path: Path, make_dataset: MakeDataset, body: str, problem: str
) -> None:
    with pytest.raises(PartitionError) as caught:
        split(tmp_path, make_dataset, body)
    assert caught.value.field == "data.partition.kind"
    assert problem in caught.value.problem


def test_options_of_a_built_in_kind_are_rejected(make_dataset: MakeDataset) -> None:
    config = DataConfig.model_validate({"partition": {"kind": "iid", "options": {"a": 1}}})
    with pytest.raises(PartitionError) as caught:
        make_partition(make_dataset([0, 1, 2] * 4), config, 3, np.random.default_rng(0))
    assert caught.value.field == "data.partition.options"
