"""Data sets from users' functions: arguments, repeatability, and rejected functions and results."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import ConfigError, DataError

GOOD = "x = np.arange(24.0).reshape(12, 2)\n    y = np.arange(12) % 3\n    return {'x': x * scale, 'y': y}"


def load(folder: Path, body: str, parameters: str = "scale=1.0", **keys: object) -> Dataset:
    file = folder / "mine.py"
    file.write_text(f"import random\n\nimport numpy as np\n\n\ndef data({parameters}):\n    {body}\n")
    return load_dataset(DataConfig.model_validate({"name": f"{file}:data", **keys}))


def test_function_gets_its_options_and_root(tmp_path: Path) -> None:
    body = GOOD.replace("scale", "scale * float((root / 'factor').read_text())")
    (tmp_path / "factor").write_text("2")
    dataset = load(tmp_path, body, "scale, root", options={"scale": 10}, root=tmp_path)
    both = np.concatenate([dataset.train_inputs, dataset.test_inputs])
    assert sorted(both.ravel()) == [20.0 * i for i in range(24)]
    assert (dataset.input_shape, dataset.num_classes) == ((2,), 3)


def test_vectors_are_normalised_by_feature(tmp_path: Path) -> None:
    body = GOOD.replace("return {", "return {'x_test': x[:3], 'y_test': y[:3], ")
    dataset = load(tmp_path, body)
    assert dataset.mean == pytest.approx((11.0, 12.0))
    inputs = dataset.to_tensor(dataset.train_inputs).numpy()
    assert inputs.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert inputs.std(axis=0) == pytest.approx([1, 1], rel=1e-6)


def test_global_generators_have_a_fixed_seed(tmp_path: Path) -> None:
    body = "return {'x': np.random.rand(9, 2) + random.random(), 'y': np.arange(9) % 3}"
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(load(tmp_path / name, body).fingerprint())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("raise OSError('no disk')", "the function raised OSError: no disk"),
        ("return np.zeros(3)", "the function returned a ndarray"),
        ("return {'x': np.zeros((2, 2))}", "the array y is missing"),
        ("return {'x': [[1], [1, 2]], 'y': [0, 1]}", "x is not an array"),
        ("return {'x': np.array([None]), 'y': [0, 1]}", "x has dtype object"),
        ("return {'x': np.zeros((4, 2)), 'y': [0, 0, 0, 0]}", "all 4 training samples"),
    ],
)
def test_function_without_usable_data_is_rejected(tmp_path: Path, body: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, body)
    assert caught.value.field == "data.name"
    assert problem in caught.value.problem


def test_object_that_is_no_function_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("data = 3\n")
    with pytest.raises(DataError, match="it is a int, not a function"):
        load_dataset(DataConfig(name=f"{file}:data"))


def test_large_result_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, GOOD, max_gib=1e-8)
    assert caught.value.field == "data.max_gib"


@pytest.mark.parametrize(("key", "value"), [("augment", True), ("image_size", 8)])
def test_image_keys_are_rejected_for_vectors(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, GOOD, **{key: value})
    assert caught.value.field == f"data.{key}"


def test_missing_file_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(DataConfig(name="absent.py:data"))
    assert caught.value.field == "data.name"


def test_options_of_a_built_in_data_set_are_rejected() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(name="digits", options={"n": 3}))
    assert caught.value.field == "data.options"
