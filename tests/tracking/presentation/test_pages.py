"""Addresses of pages of the MLflow UI."""

import json

from orchestrator.tracking.presentation.pages import VIEW, VIEW_TAG, page_at, run_page, runs_page


def test_every_page_asks_for_the_view_for_model_training() -> None:
    assert run_page("3", "abc") == "#/experiments/3/runs/abc?workflowType=machine_learning"
    assert runs_page("3", with_view=False) == "#/experiments/3/runs?workflowType=machine_learning"


def test_list_of_runs_names_the_view_whose_columns_the_experiment_stores() -> None:
    assert VIEW_TAG == "mlflow.sharedViewState.sparsefleet"
    assert runs_page("3") == runs_page("3", with_view=False) + "&viewStateShareKey=sparsefleet"
    columns = json.loads(VIEW)["selectedColumns"]
    assert columns[0] == "metrics.`accuracy`"
    assert "tags.`method`" in columns
    assert len(VIEW) < 5000, "MLflow accepts no longer value"


def test_address_of_a_page_contains_no_password() -> None:
    assert page_at("http://ann:secret@host:5000/", "#/x") == "http://host:5000/#/x"
