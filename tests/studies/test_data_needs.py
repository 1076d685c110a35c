"""Finding the data of a study, and the line that says what to download."""

from pathlib import Path

import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.registry import DATASETS, load_dataset
from orchestrator.errors import DataError
from orchestrator.studies.data_needs import NEEDS, assumed_data_config, data_config
from orchestrator.studies.schema import DataNeed


@pytest.mark.parametrize("need", NEEDS)
def test_any_layout_of_a_data_set_is_found(need: DataNeed, tmp_path: Path) -> None:
    for number, place in enumerate(NEEDS[need].places):
        folder = tmp_path / str(number)
        for file in place.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        config = data_config(need, folder)
        assert config["name"] in DATASETS
        root = None if place.root is None else str((folder / place.root).resolve())
        assert config.get("root") == root


@pytest.mark.parametrize(
    ("need", "parts"),
    [
        ("mnist", ("ossci-datasets", "MNIST/raw", "--data")),
        ("cifar10", ("cifar-10-python.tar.gz", "--data")),
        ("shakespeare", ("tinyshakespeare", "shakespeare/input.txt")),
    ],
)
def test_missing_data_says_what_to_download_and_where_to_put_it(
    need: DataNeed, parts: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        data_config(need, tmp_path)
    assert "\n" not in str(error.value)
    for part in (*parts, str(tmp_path)):
        assert part in str(error.value)


def test_sizes_for_estimates_are_those_of_the_data() -> None:
    data = load_dataset(DataConfig(**assumed_data_config("digits")))
    needed = NEEDS["digits"]
    assert (len(data.train_labels), len(data.test_labels)) == (needed.num_train, needed.num_test)
    assert (data.input_shape, data.num_classes) == (needed.input_shape, needed.num_classes)
