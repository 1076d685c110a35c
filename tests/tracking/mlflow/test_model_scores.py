"""The model that a run logs to MLflow has the test scores that the run reported, also for models with state."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch.nn.functional import cross_entropy

from orchestrator.errors import ModelError
from orchestrator.experiment.experiment import Experiment
from orchestrator.models.registry import MODELS
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.model import log_model
from orchestrator.tracking.record import read_records
from tests.support import stateful_models
from tests.support.runs import drive, fresh, prepared
from tests.support.text_files import text_data

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow.types"),
]

OWN, LIBRARY = "tests.support.stateful_models:", "model.name=tests.support.library_models:"
IMAGE_MODELS = (
    "torch_buffer",
    "numpy_hidden_buffer",
    "python_attribute",
    "frozen",
    "infinite_buffer",
    "replaced_statistics",
    "cumulative_norm",
    "normalised",
)
TEXT_MODELS = ("tied", "causal")
#: image size in pixels that a model needs
LARGE = {name: 32 for name, entry in MODELS.items() if "image" in entry.takes and name != "mlp"}
SLOW = ("vgg11", "resnet18")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an MLflow store with one experiment, for all tests of the module."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    connect(uri).create_experiment("logged", artifact_location=str(tmp_path_factory.mktemp("artifacts")))
    return uri


@pytest.fixture
def client(store: str) -> MlflowClient:
    """A client of the store, which is MLflow's current store during a test."""
    mlflow.set_tracking_uri(store)
    return connect(store)


def reported(folder: Path) -> dict[str, float]:
    """The last accuracy and loss that the run reported for its global model."""
    metrics = [r.metrics for r in read_records(folder / "metrics.jsonl") if "eval/accuracy" in r.metrics]
    return {name: metrics[-1][f"eval/{name}"] for name in ("accuracy", "loss")}


def logged(client: MlflowClient, experiment: Experiment, folder: Path) -> dict[str, float]:
    """Compute accuracy and loss of the model that MLflow loads, on the test set."""
    store = client.get_experiment_by_name("logged")
    assert store is not None
    run_id = client.create_run(store.experiment_id).info.run_id
    model_id = log_model(client, run_id, folder / "model", digest="d", step=0, sent=set(), name="m")
    torch.manual_seed(12345)  # the result must not depend on the random state of the loading process
    np.random.seed(54321)  # noqa: NPY002
    served = mlflow.pyfunc.load_model(f"models:/{model_id}")
    dataset = experiment.dataset
    inputs = np.array(dataset.test_inputs)
    if dataset.vocabulary is None:
        inputs = inputs.astype(np.float32) / np.float32(255 if inputs.dtype == np.uint8 else 1)
    scores = torch.from_numpy(served.predict(inputs.astype(np.int64) if dataset.vocabulary else inputs))
    labels = torch.from_numpy(np.array(dataset.test_labels))
    return {
        "accuracy": float((scores.argmax(dim=1) == labels).double().mean()),
        "loss": float(cross_entropy(scores.double(), labels)),
    }


def assert_same_scores(client: MlflowClient, experiment: Experiment, folder: Path) -> dict[str, float]:
    drive(experiment, folder)
    run = reported(folder)
    assert logged(client, experiment, folder) == pytest.approx(run, rel=1e-5)
    return run


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name in SLOW else [])
        for name, entry in MODELS.items()
        if "image" in entry.takes
    ],
)
def test_logged_built_in_model_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path, name: str
) -> None:
    size = f"data.image_size={LARGE[name]}" if name in LARGE else "data.image_size=8"
    small = ("fleet.num_clients=60", "data.partition.kind=iid", "training.rounds=1", "training.batch_size=8")
    assert_same_scores(client, fresh(f"model.name={name}", size, *small), tmp_path)


def test_logged_built_in_text_model_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path
) -> None:
    assert_same_scores(client, fresh("model.name=char_lstm", *text_data(tmp_path)), tmp_path)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_logged_model_with_state_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path, name: str
) -> None:
    experiment = fresh(f"model.name={OWN}{name}", "training.rounds=6", "training.local_epochs=3")
    run = assert_same_scores(client, experiment, tmp_path)
    assert run["accuracy"] > 0.6  # a model with wrong state has accuracy 0.1


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_logged_text_model_with_state_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path, name: str
) -> None:
    experiment = fresh(f"model.name={OWN}{name}", *text_data(tmp_path), "training.rounds=6")
    run = assert_same_scores(client, experiment, tmp_path)
    assert run["accuracy"] > 0.4


def test_logged_model_of_a_users_file_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(Path(stateful_models.__file__).read_text())
    experiment = fresh(f"model.name={file}:python_attribute", "training.rounds=6", "training.local_epochs=3")
    assert assert_same_scores(client, experiment, tmp_path / "run")["accuracy"] > 0.6


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # from torch's own compiler
@pytest.mark.parametrize(
    "name",
    [
        "vit",
        "swin",
        "convnext",
        "weight_normed",
        "spectral_normed",
        "compiled",
        "spare_layer",
        pytest.param("googlenet", marks=pytest.mark.thorough),
    ],
)
def test_logged_library_model_scores_what_the_run_reported(
    client: MlflowClient, tmp_path: Path, name: str
) -> None:
    overrides = ("data.image_size=32", "training.rounds=2", "algorithm.name=feddst")
    assert_same_scores(client, fresh(f"{LIBRARY}{name}", *overrides), tmp_path)


@pytest.mark.parametrize("name", ["unseeded_buffer", "unseeded_attribute"])
def test_model_that_ignores_the_seed_is_rejected_before_the_run(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        fresh(f"model.name={OWN}{name}")
    assert (caught.value.field, caught.value.value) == ("model.name", f"{OWN}{name}")


def test_run_from_an_exported_model_uses_its_fixed_state(tmp_path: Path) -> None:
    """With the fixed state of the new seed the exported weights would be useless."""
    model = f"model.name={OWN}torch_buffer"
    first = fresh(model, "training.rounds=6", "training.local_epochs=3")
    drive(first, tmp_path / "first")
    start = f"model.init={tmp_path / 'first' / 'model' / 'model.safetensors'}"
    following = fresh(model, "seed=9", start, "data.partition.kind=iid", "training.lr=1e-9")
    assert following.fingerprint()["fixed_state"] == first.fingerprint()["fixed_state"]
    assert prepared(model, "seed=9").fingerprint()["fixed_state"] != first.fingerprint()["fixed_state"]
    drive(following, tmp_path / "second")
    assert reported(tmp_path / "second")["accuracy"] > 0.6


def test_submodels_have_the_state_of_the_whole_model(client: MlflowClient, tmp_path: Path) -> None:
    """HeteroFL trains submodels; units of a frozen layer or with a mask buffer are kept."""
    for name in ("frozen", "infinite_buffer"):
        overrides = ("algorithm.name=heterofl", "training.rounds=6", "training.local_epochs=3")
        experiment = fresh(f"model.name={OWN}{name}", *overrides)
        assert_same_scores(client, experiment, tmp_path / name)
