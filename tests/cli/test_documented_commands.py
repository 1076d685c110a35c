"""Every command of every page works as it is written.

- Commands that train run with one short round, in this process and without MLflow. Their own keys stay.
- Sweeps are planned: all their options and the configs of all their trials are checked. Other tests run sweeps.
- Studies are planned: their files and the configs of all their runs are checked.
- Commands that need a cluster (`submit`, `runtime.address`, faults that kill actors), data that is not bundled, a
  browser (`ui`, `list --address`) are only parsed and validated.
- `doctor` uses the Ray of the tests.
"""

import ast
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from orchestrator.cli.main import app
from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.submission import job_request
from orchestrator.config.overrides import parse_overrides, read_configs, split_name
from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from orchestrator.storage.lookup import find_sweep
from orchestrator.studies.library import read_study, study_path
from orchestrator.studies.plan import StudyPlan
from orchestrator.sweeping.plan import plan_resumed_sweep, plan_sweep
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.store import SweepStore
from tests.support.command import QUICK, Command
from tests.support.documented_commands import PageCommand, commands, files
from tests.support.run_folders import write_run

#: overrides that make a run short; the last value of a key wins
SHORT = (
    "training.rounds=1",
    "training.local_epochs=1",
    "runtime.executor=inprocess",
    "tracking.enabled=false",
)
#: the sweep's name in the pages, and storage folders of a cluster
SWEEP = "sparsity-20260101-120000-ab12"
SHARED = re.compile("/mnt/sparsefleet/runs|/shared/runs")
EXECUTED = ("check", "cite", "compare", "list", "partition", "resume", "retime", "run", "status", "stop")
COMMANDS = {str(command): command for command in commands("sparsefleet")}
MODULES = {str(command): command for command in commands("python -m")}


@pytest.fixture(scope="module")
def _storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with a run of FedDST, a run of FedAvg, and a sweep of four trials."""
    storage = tmp_path_factory.mktemp("documented") / "runs"
    for method in ("feddst", "fedavg"):
        config = load_config(None, [*QUICK, f"algorithm.name={method}", f"runtime.storage={storage}"])
        session.run(config, Progress(quiet=True))
    values = {"sparsity.level": [0.8, 0.95], "algorithm.name": ["feddst", "randommask"]}
    request = SweepRequest(space="sparsity", config={"tracking": {"enabled": False}}, overrides=values)
    plan, store = plan_sweep(request), SweepStore(storage / SWEEP)
    store.folder.mkdir()
    dimensions = {key: str(value) for key, value in plan.dimensions.items()}
    store.describe(
        {"request": request.model_dump(mode="json"), "base": dict(plan.base), "dimensions": dimensions}
    )
    store.add_trials(plan.trials())
    for trial in plan.trials():
        level, method = trial.values["sparsity.level"], trial.values["algorithm.name"]
        about = {"name": trial.name, "trial_values": dict(trial.values)}
        folder = store.folder / f"{SWEEP}-{trial.number:03d}"
        write_run(folder, f"sparsity.level={level}", method=method, about=about)
    return storage


@pytest.fixture
def workplace(_storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which contains a copy of the storage folder as `runs`."""
    shutil.copytree(_storage, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _filled_in(command: PageCommand, folder: Path) -> list[str]:
    """Return the arguments with the folder's own names in the place of RUN, NAME, SWEEP and shared folders."""
    run = next((folder / "runs").glob("feddst-*")).name
    names = {"RUN": run, "NAME": run, "SWEEP": SWEEP}
    arguments = []
    for argument in command.arguments[1:]:
        argument = SHARED.sub(str(folder / "runs"), argument)
        if method := re.fullmatch(r"(\w+)-NAME", argument):
            argument = next((folder / "runs").glob(f"{method[1]}-*")).name
        arguments.append(re.sub(r"\b(RUN|NAME|SWEEP)\b", lambda found: names[found[0]], argument))
    return arguments


def _parse(arguments: Sequence[str]) -> ParsedCommand:
    """Parse a command with its own parser, which exits when it does not know an option."""
    name, *rest = arguments
    parent = typer.Context(get_command(app))
    with get_command(app).commands[name].make_context(name, list(rest), parent=parent) as parsed:  # type: ignore[attr-defined]
        options = dict(parsed.params)
    if name == "sweep":
        options["space"], options["overrides"] = split_name(options["space"], options["overrides"] or ())
    return ParsedCommand(name, tuple(arguments), options)


def _needs_a_cluster_or_data(arguments: Sequence[str]) -> bool:
    """Whether the command needs what a test machine may not have."""
    keys = r"runtime\.(address|aggregators)|chaos\.(client_dies|client_hangs|driver_dies)"
    needs = rf"({keys})=.*|--address|data\.root=DIR"
    return any(re.fullmatch(needs, argument) for argument in arguments) or (
        any(argument.startswith("tracking.uri=") for argument in arguments)
    )


def _check_sweep(parsed: ParsedCommand, folder: Path) -> None:
    """Plan the sweep with all its trials, or plan the rest of an existing sweep."""
    options = {key: value for key, value in parsed.options.items() if key in SweepRequest.model_fields}
    if parsed.options.get("resume"):
        plan_resumed_sweep(SweepStore(find_sweep(parsed.options["space"], folder / "runs")))
        return
    overrides = parse_overrides(parsed.options["overrides"] or [])
    config = read_configs(parsed.options["config"] or ())
    plan = plan_sweep(SweepRequest.model_validate({**options, "overrides": overrides, "config": config}))
    assert plan.is_adaptive or plan.trials()


def _check_study(parsed: ParsedCommand) -> None:
    """Check the configs of all runs of a study, without its data."""
    if parsed.options["resume"] or parsed.options["report"]:
        return
    study = read_study(study_path(parsed.options["study"]))
    scale = parsed.options["scale"] or "quick"
    plan = StudyPlan(name=parsed.options["study"], study=study, scale=scale, num_seeds=3, data=None)
    plan.check()
    assert plan.cells


def _check_job(parsed: ParsedCommand) -> None:
    """Build the job, which is not sent to a cluster."""
    inner: Any = parsed.options["arguments"]
    with job_request(_parse(inner), working_dir=None, env_names=[], environment={}, columns=100) as job:
        assert inner[0] in job.entrypoint


def _case(name: str) -> object:
    """The command's name as a parameter, marked if the command needs Ray."""
    needs_ray = COMMANDS[name].arguments[1] == "doctor"
    return pytest.param(name, marks=pytest.mark.ray) if needs_ray else name


@pytest.mark.parametrize("name", [_case(name) for name in COMMANDS])
def test_documented_command_works(
    name: str, workplace: Path, command: Command, request: pytest.FixtureRequest
) -> None:
    for file, text in files(COMMANDS[name].page).items():
        (workplace / file).write_text(text)
    arguments = _filled_in(COMMANDS[name], workplace)
    parsed = _parse(arguments)
    if parsed.command == "sweep" or (parsed.command == "run" and parsed.options["seeds"] > 1):
        _check_sweep(parsed, workplace)
    elif parsed.command == "reproduce":
        _check_study(parsed)
    elif parsed.command == "submit":
        _check_job(parsed)
    elif parsed.command == "run" and _needs_a_cluster_or_data(arguments):
        load_config(parsed.options["config"], parsed.options["overrides"] or [])
    elif parsed.command == "doctor":
        request.getfixturevalue("local_ray")
        request.getfixturevalue("own_ray_folder")
        result = command(*arguments)
        assert result.code == 0, result.out
    elif parsed.command in EXECUTED and not _needs_a_cluster_or_data(arguments):
        short = SHORT if parsed.command == "run" else ()
        if parsed.command == "resume":
            short = ("training.rounds=3", *SHORT[2:])
        result = command(*arguments, *short)
        assert result.code == 0, result.err


@pytest.mark.parametrize("name", MODULES)
def test_documented_module_has_the_options(name: str) -> None:
    """These commands run for minutes, so that only their module and their options are checked."""
    _, _, module, *arguments = MODULES[name].arguments
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    texts = [
        node.value
        for node in ast.walk(ast.parse(Path(spec.origin).read_text()))
        if isinstance(node, ast.Constant)
    ]
    assert not {argument for argument in arguments if argument.startswith("--")} - set(texts)


def test_pages_show_commands_of_every_kind() -> None:
    shown = {command.arguments[1] for command in COMMANDS.values()}
    assert {*EXECUTED, "sweep", "submit", "ui", "doctor"} - shown <= {"partition"}
    assert len(COMMANDS) > 60
