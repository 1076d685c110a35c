"""`tracking.json`: kept per store and experiment, one id per folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.tracking.delivery import Delivery


def test_what_is_noted_comes_back_for_the_same_place_only(tmp_path: Path) -> None:
    first = Delivery.to("sqlite:////a.db", "e", tmp_path)
    assert (first.mlflow_run_id, first.num_delivered, first.model_sha256) == (None, 0, None)
    noted = replace(first, mlflow_run_id="m", num_delivered=7, model_sha256="d")
    noted.save(tmp_path)
    assert Delivery.to("sqlite:////a.db", "e", tmp_path) == noted
    elsewhere = Delivery.to("sqlite:////a.db", "other", tmp_path)
    assert elsewhere == replace(first, experiment="other")
    assert [path.name for path in tmp_path.iterdir()] == ["tracking.json"]


def test_each_folder_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ids.add(Delivery.to("u", "e", tmp_path / name).delivery_id)
    assert len(ids) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uri":"u"}', '{"unknown":1}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracking.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tracking\.json: .*delete it"):
        Delivery.to("u", "e", tmp_path)


def test_what_is_noted_can_be_read_alone(tmp_path: Path) -> None:
    assert Delivery.noted(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    first = Delivery.to("u", "e", tmp_path)
    assert Delivery.noted(tmp_path) == first
    assert not first.ended
    ended = replace(first, mlflow_run_id="m", num_delivered=3, ended=True)
    ended.save(tmp_path)
    assert Delivery.noted(tmp_path) == Delivery.to("u", "e", tmp_path) == ended


def test_a_run_that_ended_elsewhere_has_not_ended_here(tmp_path: Path) -> None:
    replace(Delivery.to("u", "e", tmp_path), ended=True).save(tmp_path)
    assert not Delivery.to("u", "other", tmp_path).ended


def test_a_note_from_before_runs_were_noted_as_ended_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text('{"uri": "u", "experiment": "e", "delivery_id": "d"}')
    noted = Delivery.noted(tmp_path)
    assert noted == Delivery(uri="u", experiment="e", delivery_id="d", ended=False)
