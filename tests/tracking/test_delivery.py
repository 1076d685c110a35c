"""`tracking.json`: one state for each store and experiment, one id for each folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.tracking.delivery import Delivery


def test_open_loads_the_state_of_the_same_store_and_experiment(tmp_path: Path) -> None:
    first = Delivery.open("sqlite:////a.db", "e", tmp_path)
    assert (first.mlflow_run_id, first.num_delivered, first.model_sha256) == (None, 0, None)
    saved = replace(first, mlflow_run_id="m", num_delivered=7, model_sha256="d")
    saved.save(tmp_path)
    assert Delivery.open("sqlite:////a.db", "e", tmp_path) == saved
    other = Delivery.open("sqlite:////a.db", "other", tmp_path)
    assert other == replace(first, experiment="other")
    assert [path.name for path in tmp_path.iterdir()] == ["tracking.json"]


def test_each_folder_has_its_own_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ids.add(Delivery.open("u", "e", tmp_path / name).delivery_id)
    assert len(ids) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uri":"u"}', '{"unknown":1}'])
def test_open_rejects_an_invalid_file_and_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracking.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tracking\.json: "):
        Delivery.open("u", "e", tmp_path)


def test_load_returns_the_saved_state_or_none(tmp_path: Path) -> None:
    assert Delivery.load(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    first = Delivery.open("u", "e", tmp_path)
    assert Delivery.load(tmp_path) == first
    assert not first.ended
    ended = replace(first, mlflow_run_id="m", num_delivered=3, ended=True)
    ended.save(tmp_path)
    assert Delivery.load(tmp_path) == Delivery.open("u", "e", tmp_path) == ended


def test_delivery_to_another_experiment_is_not_ended(tmp_path: Path) -> None:
    replace(Delivery.open("u", "e", tmp_path), ended=True).save(tmp_path)
    assert not Delivery.open("u", "other", tmp_path).ended


def test_load_accepts_a_file_without_the_newer_fields(tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text('{"uri": "u", "experiment": "e", "delivery_id": "d"}')
    delivery = Delivery.load(tmp_path)
    assert delivery == Delivery(uri="u", experiment="e", delivery_id="d", ended=False)
