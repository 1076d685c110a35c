"""Addresses of pages of the MLflow UI.

The pages of MLflow show either the view for model training or the view for language models. They choose it by
`workflowType` in the address, else by what the user has last chosen in this browser, else language models. The view for
language models lists no runs, so every address that Sparsefleet prints sets `workflowType`.
"""

import json

from orchestrator.tracking.uris import public_uri

#: name of the tag of an experiment that holds the columns of `VIEW`
VIEW_TAG = "mlflow.sharedViewState.sparsefleet"
_TRAINING = "workflowType=machine_learning"
_METRICS = ("accuracy", "personal_accuracy", "upload_bytes_total", "train_flops_total", "emulated_s_total")
_TAGS = ("method", "sparsity", "data", "partition", "fleet", "seed")
#: value of the tag: the columns that the list of runs shows
VIEW = json.dumps(
    {
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in _METRICS),
            *(f"tags.`{name}`" for name in _TAGS),
        ]
    }
)


def runs_page(experiment_id: str, *, with_view: bool = True) -> str:
    """Return the page with the runs of an experiment, relative to the server's address.

    With `with_view`, the page shows the columns of `VIEW`; the experiment must have the tag `VIEW_TAG`.
    """
    view = f"&viewStateShareKey={VIEW_TAG.rpartition('.')[2]}" if with_view else ""
    return f"#/experiments/{experiment_id}/runs?{_TRAINING}{view}"


def run_page(experiment_id: str, mlflow_run_id: str) -> str:
    """Return the page of one run, relative to the server's address."""
    return f"#/experiments/{experiment_id}/runs/{mlflow_run_id}?{_TRAINING}"


def page_at(server: str, page: str) -> str:
    """Return the address of a page of the server at a URI, without user name and password."""
    return f"{public_uri(server).rstrip('/')}/{page}"
