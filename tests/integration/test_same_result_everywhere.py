"""One seed gives one result, for every executor and every number of actors."""

from pathlib import Path

import pytest
import ray
from ray.util import list_named_actors

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.prepare import prepare
from orchestrator.runtime import session
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.storage.best_model import best_model_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import read_records
from tests.support import aggregation_rules, sampling_rules
from tests.support.ray_runs import MakeConfig
from tests.support.runs import comparable
from tests.support.text_files import text_data

QUIET = Progress(quiet=True)
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def reference(make_config: MakeConfig) -> str:
    """Digest of the parameters of the run in one process."""
    return session.run(make_config("runtime.executor=inprocess"), QUIET).params_sha256


@pytest.mark.parametrize(
    "placement",
    [
        ["runtime.actors=dedicated"],
        ["runtime.actors=pooled", "runtime.pool_size=1"],
        ["runtime.actors=pooled", "runtime.pool_size=2"],
        ["runtime.actors=pooled", "runtime.pool_size=4"],
    ],
    ids=["dedicated", "pool of 1", "pool of 2", "pool of 4"],
)
def test_actors_give_the_result_of_one_process(
    make_config: MakeConfig, reference: str, placement: list[str]
) -> None:
    assert session.run(make_config(*placement), QUIET).params_sha256 == reference


def test_bundles_have_the_same_bits_on_any_number_of_actors(make_config: MakeConfig) -> None:
    """A configured number makes the same bundles everywhere; aggregators leave the payloads in the object store."""
    digests = []
    for executor in (
        ["runtime.executor=inprocess", "runtime.cohort=1"],
        ["runtime.executor=inprocess"],
        ["runtime.pool_size=1"],
        ["runtime.pool_size=2"],
        ["runtime.pool_size=1", "runtime.aggregators=1"],
    ):
        pooled = ("runtime.actors=pooled", "data.partition.kind=iid", "runtime.cohort=2")
        config = make_config(*pooled, "training.rounds=2", *executor).to_dict()
        config |= {"algorithm": {"name": "ssfl"}, "sparsity": {}}
        digests.append(session.run(ExperimentConfig.parse(config), QUIET).params_sha256)
    one_by_one, *bundled = digests
    assert len(set(bundled)) == 1
    assert one_by_one not in bundled


@pytest.mark.parametrize("model", ["torch_buffer", "python_attribute", "frozen"])
def test_actors_have_the_fixed_state_of_the_model(make_config: MakeConfig, model: str) -> None:
    name = f"model.name=tests.support.stateful_models:{model}"
    alone = session.run(make_config(name, "runtime.executor=inprocess"), QUIET)
    pooled = session.run(make_config(name, "runtime.actors=pooled", "runtime.pool_size=2"), QUIET)
    assert pooled.params_sha256 == alone.params_sha256


@pytest.mark.parametrize(
    ("model", "method", "executor"),
    [
        ("vit", "heterofl", ["fleet.name=five-tier", "runtime.actors=pooled", "runtime.pool_size=5"]),
        ("vit", "feddst", ["runtime.actors=dedicated"]),
        ("char_transformer", "fedavg", ["runtime.actors=pooled", "runtime.pool_size=2"]),
        (
            "char_transformer",
            "fedlps",
            ["fleet.name=five-tier", "runtime.actors=pooled", "runtime.aggregators=2"],
        ),
        ("tests.support.models:normalised_maps", "fedbn", ["runtime.actors=pooled", "runtime.pool_size=2"]),
    ],
)
def test_transformers_and_local_norms_give_the_result_of_one_process(
    make_config: MakeConfig, tmp_path: Path, model: str, method: str, executor: list[str]
) -> None:
    data = text_data(tmp_path) if model == "char_transformer" else ()
    shared = (*data, "fleet.num_clients=6", "training.rounds=2", "training.local_epochs=1")
    fleet = [override for override in executor if override.startswith("fleet.")]
    found = []
    for placement in ([*fleet, "runtime.executor=inprocess"], executor):
        config = make_config(*shared, f"model.name={model}", *placement).to_dict()
        config |= {"algorithm": {"name": method}, "sparsity": {}}
        summary = session.run(ExperimentConfig.parse(config), QUIET)
        found.append((summary.params_sha256, summary.emulated_s_total))
    assert found[0] == found[1]


def test_several_profiles_give_the_result_of_one_process(make_config: MakeConfig) -> None:
    fleet = "fleet.name=five-tier"
    alone = session.run(make_config(fleet, "runtime.executor=inprocess"), QUIET)
    pooled = session.run(make_config(fleet, "runtime.actors=pooled"), QUIET)
    assert pooled.params_sha256 == alone.params_sha256
    assert pooled.emulated_s_total == alone.emulated_s_total


@pytest.mark.parametrize(
    "rounds",
    [
        ["asynchrony.kind=fedbuff", "asynchrony.buffer_size=2"],
        ["asynchrony.kind=fedasync"],
        ["fleet.over_selection=1.5", "selection.kind=power_of_choice"],
    ],
    ids=["fedbuff", "fedasync", "power of choice, over-selected"],
)
def test_only_emulated_time_orders_updates(
    make_config: MakeConfig, tmp_path: Path, rounds: list[str]
) -> None:
    """Parameters, all metrics except wall time, and all events are equal in one process and on 1, 2 and 4 actors."""
    found = []
    for placement in (["runtime.executor=inprocess"], *(["runtime.pool_size=" + n] for n in ("1", "2", "4"))):
        config = make_config("runtime.actors=pooled", *rounds, *placement)
        summary = session.run(config, QUIET)
        folder = tmp_path / summary.run_id
        records = read_records(folder / "metrics.jsonl")
        found.append((summary.params_sha256, comparable(records), (folder / "events.jsonl").read_text()))
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize(
    "options",
    [
        ["attack.kind=sign_flip", "aggregation.rule=trimmed_mean"],
        ["attack.kind=inner_product", "aggregation.rule=geometric_median"],
        ["privacy.clip_norm=0.5", "privacy.noise_multiplier=0.5"],
    ],
    ids=["trimmed mean", "geometric median", "privacy"],
)
def test_rules_attacks_and_noise_do_not_depend_on_actors(make_config: MakeConfig, options: list[str]) -> None:
    """With one aggregator too, where the rule allows it; the driver adds the updates for other rules."""
    alone = session.run(make_config(*options, "runtime.executor=inprocess"), QUIET)
    for placement in (["runtime.pool_size=2"], ["runtime.pool_size=1", "runtime.aggregators=1"]):
        pooled = session.run(make_config("runtime.actors=pooled", *options, *placement), QUIET)
        assert pooled.params_sha256 == alone.params_sha256


def test_personal_models_have_the_same_scores_on_ray(make_config: MakeConfig, tmp_path: Path) -> None:
    """Scoring tasks run on the actors too; all metrics except wall time are equal."""
    mine = make_config("training.rounds=2", "training.eval_every=1", "runtime.actors=pooled").to_dict()
    mine["algorithm"] = {"name": "tests.support.probing_methods:Stubborn"}
    mine["evaluation"] |= {"finetune_epochs": 1, "central_personal": True}
    found = []
    for executor in ("inprocess", "ray"):
        mine["runtime"] |= {"executor": executor, "pool_size": 1}
        summary = session.run(ExperimentConfig.parse(mine), QUIET)
        records = read_records(tmp_path / summary.run_id / "metrics.jsonl")
        found.append((summary.params_sha256, comparable(records)))
    assert found[0] == found[1]
    assert "personal/central_accuracy_mean" in found[0][1][0][1]
    assert "finetuned/accuracy_mean" in found[0][1][1][1]


def test_another_seed_gives_another_result(make_config: MakeConfig, reference: str) -> None:
    other = session.run(make_config("runtime.executor=inprocess", "seed=1"), QUIET)
    assert other.params_sha256 != reference


def test_dedicated_clients_are_named_actors(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(
        "fleet.num_clients=12",
        "training.clients_per_round=4",
        "training.rounds=1",
        "runtime.actors=dedicated",
    )
    folder = tmp_path / "named"
    folder.mkdir()
    store = RunStore(folder)
    experiment = prepare(config)
    backend = RayBackend(experiment, folder)
    try:
        backend.ready()
        names = set(list_named_actors())
        assert {f"{store.run_id}/client-{k}" for k in range(12)} <= names
        list(backend.records())
    finally:
        backend.close()
    assert not {name for name in list_named_actors() if name.startswith(f"{store.run_id}/")}


def test_killed_client_actor_does_not_change_the_result(
    make_config: MakeConfig, reference: str, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    backend = RayBackend(prepare(make_config("runtime.actors=pooled", "runtime.pool_size=1")), folder)
    try:
        backend.ready()
        for number, _ in enumerate(backend.records()):
            if number == 1:
                ray.kill(ray.get_actor("killed/pool-default-0"), no_restart=False)
        assert backend.params_sha256() == reference
    finally:
        backend.close()


@pytest.mark.parametrize(
    "placement", [["runtime.actors=dedicated"], ["runtime.actors=pooled", "runtime.pool_size=2"]]
)
def test_unseen_clients_have_the_scores_of_one_process(
    make_config: MakeConfig, tmp_path: Path, placement: list[str]
) -> None:
    """Ditto's unseen clients train before they are scored, on whichever actor."""
    found = []
    for executor in (["runtime.executor=inprocess"], placement):
        tree = make_config("fleet.unseen_clients=2", "training.rounds=2", *executor).to_dict()
        summary = session.run(
            ExperimentConfig.parse({**tree, "algorithm": {"name": "ditto"}, "sparsity": {}}), QUIET
        )
        found.append(comparable(read_records(tmp_path / summary.run_id / "metrics.jsonl")))
    assert found[0] == found[1]
    assert "personal/unseen_accuracy_mean" in found[0][-1][1]


def test_run_on_ray_stops_early_in_the_same_round_with_the_same_models(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    stopping = ("training.stop.patience=1", "training.stop.min_delta=0.99")
    found = []
    for executor in ("runtime.executor=inprocess", "runtime.actors=dedicated"):
        summary = session.run(make_config(*stopping, "training.eval_every=2", executor), QUIET)
        assert (summary.num_rounds, summary.interrupted) == (4, False)
        best = best_model_folder(tmp_path / summary.run_id, summary.best_round or 0)
        found.append((summary.params_sha256, summary.stop_reason, (best / "model.safetensors").read_bytes()))
    assert found[0] == found[1]


def test_rules_of_a_file_give_the_result_of_one_process(make_config: MakeConfig, tmp_path: Path) -> None:
    for module in (sampling_rules, aggregation_rules):
        source = Path(module.__file__)
        (tmp_path / source.name).write_text(source.read_text())
    own = (
        f"selection.kind={tmp_path}/sampling_rules.py:largest_losses",
        f"aggregation.rule={tmp_path}/aggregation_rules.py:clipped_mean",
        "aggregation.options.limit=0.2",
        "training.rounds=3",
    )
    found = [
        session.run(make_config(*own, executor), QUIET)
        for executor in ("runtime.executor=inprocess", "runtime.actors=dedicated")
    ]
    assert found[0].params_sha256 == found[1].params_sha256
    sources = tmp_path / found[1].run_id / "sources"
    assert (sources / "selection" / "sampling_rules.py").is_file()
    assert (sources / "aggregation" / "aggregation_rules.py").is_file()
