"""`run` with invalid requests: one line on standard error that names key and value, and the right exit code."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.experiment.methods import algorithm_names
from tests.support.command import Command


@dataclass(frozen=True)
class Case:
    """`arguments` follow those of a quick run; the error line must contain every token as a whole word."""

    arguments: str
    tokens: tuple[str, ...]
    code: int = 2


WRONG_KEYS = {
    "key": Case("training.round=3", ("training.round=3", "training.rounds")),
    "section": Case("trainin.rounds=3", ("trainin=", "training")),
    "section of a section": Case("data.partitoin.alpha=1", ("data.partitoin=", "data.partition")),
    "key without its section": Case("num_clients=3", ("num_clients=3", "fleet.num_clients")),
    "key without a similar key": Case("zzz=3", ("zzz=3", "sparsefleet list keys")),
    "value as a section": Case("seed.x=1", ("seed", "integer")),
    "section as a value": Case("training=5", ("training=5", "section")),
    "no value": Case("training.rounds", ("KEY=VALUE=training.rounds",)),
    "no key": Case("=3", ("KEY=VALUE==3",)),
}
WRONG_VALUES = {
    "text for a number": Case("training.rounds=many", ("training.rounds=many", "integer")),
    "fraction for an integer": Case("training.rounds=2.5", ("training.rounds=2.5", "integer")),
    "boolean for a number": Case("training.rounds=true", ("training.rounds=True", "integer")),
    "number above the limit": Case(f"seed={'9' * 400}", ("9223372036854775808",)),
    "number that Python cannot parse": Case(f"seed={'9' * 5000}", ("integer",)),
    "list for a number": Case("training.lr=[1]", ("training.lr=[1]", "number")),
    "below the range": Case("training.lr=0", ("training.lr=0", "greater than 0")),
    "above the range": Case("sparsity.level=1", ("sparsity.level=1", "less than 1")),
    "not finite": Case("training.lr=.nan", ("training.lr=nan", "finite")),
    "unknown choice": Case("training.optimizer=sdg", ("training.optimizer=sdg", "'sgd', 'adam' or 'adamw'")),
    "unknown dtype": Case(
        "wire.value_dtype=float64", ("wire.value_dtype=float64", "'float32', 'float16', 'bfloat16' or 'int8'")
    ),
    "null for a number": Case("fleet.num_clients=null", ("fleet.num_clients=None", "integer")),
    "more updates required than clients sampled": Case(
        "runtime.failure_policy=drop runtime.min_clients=3",
        ("runtime.min_clients=3", "training.clients_per_round=2"),
    ),
    "more clients sampled than the fleet has": Case(
        "training.clients_per_round=5", ("training.clients_per_round=5", "fleet.num_clients=4")
    ),
}
WRONG_NAMES = {
    "algorithm": Case("algorithm.name=fedavgg", ("algorithm.name=fedavgg", "fedavg")),
    "algorithm without a similar name": Case(
        "algorithm.name=zzz", ("algorithm.name=zzz", ", ".join(sorted(algorithm_names())))
    ),
    "model": Case("model.name=mpl", ("model.name=mpl", "mlp")),
    "data set": Case("data.name=digitz", ("data.name=digitz", "digits")),
    "fleet": Case("fleet.name=unifrm", ("fleet.name=unifrm", "uniform")),
    "option of a method": Case("algorithm.name=fedprox algorithm.muu=1", ("algorithm.muu=1", "algorithm.mu")),
    "option of another method": Case("algorithm.name=fedavgm algorithm.mu=1", ("algorithm.mu=1",)),
    "value of an option": Case(
        "algorithm.name=fedprox algorithm.mu=-1", ("algorithm.mu=-1", "greater than or equal to 0")
    ),
    "ratio that the policy does not use": Case(
        "algorithm.name=heterofl algorithm.ratio=0.25",
        ("algorithm.ratio=0.25", "algorithm.ratio_policy=capability", "algorithm.ratio_policy=fixed"),
    ),
    "bandit over widths": Case(
        "algorithm.name=fjord algorithm.ratio_policy=p_ucbv",
        ("algorithm.ratio_policy=p_ucbv", "algorithm.widths", "capability", "fixed"),
    ),
    "method that needs validation samples": Case(
        "algorithm.name=lotteryfl data.validation_fraction=0",
        ("data.validation_fraction=0.0", "client 0", "lotteryfl"),
    ),
    "profile that the fleet does not have": Case(
        "algorithm.name=fedspa sparsity.device_levels.tier9=0.5",
        ("sparsity.device_levels.tier9=0.5", "default"),
    ),
    "option that contradicts the training": Case(
        "algorithm.name=feddst algorithm.adjust_after_epoch=2",
        ("algorithm.adjust_after_epoch=2", "at most 1"),
    ),
}
WRONG_FILES = {
    "algorithm file missing": Case(
        "algorithm.name={tmp}/none.py:Own", ("algorithm.name={tmp}/none.py:Own", "file")
    ),
    "algorithm class missing": Case(
        "algorithm.name={tmp}/own.py:Ownn", ("algorithm.name={tmp}/own.py:Ownn", "Own")
    ),
    "algorithm file without a class": Case("algorithm.name={tmp}/own.py", ("algorithm.name={tmp}/own.py",)),
    "class that is no algorithm": Case("algorithm.name={tmp}/own.py:Own", ("subclass of Algorithm",)),
    "algorithm file that raises": Case(
        "algorithm.name={tmp}/raising.py:Own", ("raising.py", "ZeroDivisionError")
    ),
    "algorithm file that raises two lines": Case(
        "algorithm.name={tmp}/raising_twice.py:Own", ("ValueError", "one", "two")
    ),
    "algorithm file with a syntax error": Case("algorithm.name={tmp}/broken.yaml.py:Own", ("SyntaxError",)),
    "algorithm module missing": Case(
        "algorithm.name=no_such.thing:Own", ("algorithm.name=no_such.thing:Own", "module no_such")
    ),
    "model file missing": Case("model.name={tmp}/none.py:build", ("model.name={tmp}/none.py:build", "file")),
    "model that raises": Case("model.name={tmp}/own.py:build", ("model.name={tmp}/own.py:build", "KeyError")),
    "model that is not callable": Case(
        "model.name={tmp}/own.py:NUMBER", ("model.name={tmp}/own.py:NUMBER", "int")
    ),
    "model too large for the images": Case(
        "model.name=vgg11", ("model.name=vgg11", "8x8", "data.image_size")
    ),
    "initial parameters missing": Case(
        "model.init={tmp}/none.safetensors", ("model.init={tmp}/none.safetensors",)
    ),
    "initial parameters of another format": Case("model.init={tmp}/own.py", ("model.init={tmp}/own.py",)),
    "data root missing": Case("data.name=mnist data.root={tmp}/none", ("data.root={tmp}/none", "MNIST/raw")),
    "data root of an unknown user": Case(
        "data.name=npz data.root=~no-such-user/x.npz", ("data.root=~no-such-user/x.npz",)
    ),
    "data root not given": Case("data.name=npz", ("data.root=None",)),
    "data root not used": Case("data.root={tmp}", ("data.root={tmp}", "leave it out")),
    "data root without the data": Case(
        "data.name=mnist data.root={tmp}", ("data.root={tmp}", "train-images-idx3-ubyte")
    ),
    "client column of data without columns": Case(
        "data.client_column=id", ("data.client_column=id", "leave it out")
    ),
    "config file missing": Case("-c {tmp}/none.yaml", ("--config={tmp}/none.yaml",)),
    "config file that is a folder": Case("-c {tmp}", ("--config={tmp}", "directory")),
    "config file that is not YAML": Case("-c {tmp}/broken.yaml", ("--config={tmp}/broken.yaml", "YAML")),
    "config file that is a list": Case("-c {tmp}/list.yaml", ("--config={tmp}/list.yaml", "mapping")),
    "config file that is not text": Case("-c {tmp}/binary.yaml", ("--config={tmp}/binary.yaml",)),
    "config file with an unknown key": Case("-c {tmp}/typo.yaml", ("training.ruonds=3", "training.rounds")),
    "summary to a folder": Case("--summary {tmp}", ("--summary={tmp}", "folder")),
    "storage below a file": Case("runtime.storage={tmp}/own.py/runs", ("runtime.storage={tmp}/own.py/runs",)),
    "storage that is a file": Case("runtime.storage={tmp}/own.py", ("runtime.storage={tmp}/own.py",)),
}
WRONG_PARTITIONS = {
    "more clients than samples": Case(
        "fleet.num_clients=5000", ("fleet.num_clients=5000", "1438", "719 clients")
    ),
    "more shards than samples": Case(
        "data.partition.kind=shards data.partition.shard_size=400",
        ("data.partition.shard_size=400", "1438", "3"),
    ),
    "more classes than the data has": Case(
        "data.partition.kind=shards data.partition.classes_per_client=11",
        ("data.partition.classes_per_client=11", "10 classes"),
    ),
    "shards too small": Case(
        "data.partition.kind=shards data.partition.shard_size=1 data.partition.min_samples=5",
        ("data.partition.min_samples=5", "1438 training samples", "8 shards"),
    ),
    "dirichlet too uneven": Case(
        "fleet.num_clients=100 data.partition.alpha=0.01 data.partition.min_samples=14",
        ("data.partition.alpha=0.01", "data.partition.min_samples=14", "balanced_dirichlet"),
    ),
    "natural without client ids": Case(
        "data.partition.kind=natural", ("data.partition.kind=natural", "data.client_column")
    ),
    "all samples for validation": Case(
        "data.validation_fraction=1", ("data.validation_fraction=1", "less than 1")
    ),
}
WRONG_SPARSITY = {
    "level of a dense method": Case("sparsity.level=0.5", ("sparsity.level=0.5", "fedavg")),
    "level that empties a layer": Case(
        "algorithm.name=randommask sparsity.level=0.9999",
        ("sparsity.level=0.9999", "20000 weights", "fc2.weight", "0.994918"),
    ),
    "level that empties a layer at a readjustment": Case(
        "algorithm.name=feddst sparsity.level=0.9999", ("sparsity.level=0.9999", "layer")
    ),
    "schedule that the method does not follow": Case(
        "algorithm.name=randommask sparsity.schedule.kind=cubic",
        ("sparsity.schedule.kind=cubic", "randommask", "constant"),
    ),
}
WRONG_TRACKING = {
    "unreachable server": Case(
        "tracking.enabled=true tracking.uri=http://127.0.0.1:1",
        ("tracking.uri=http://127.0.0.1:1", "mlflow server"),
        code=1,
    ),
    "unknown kind of URI": Case(
        "tracking.enabled=true tracking.uri=here", ("tracking.uri=here", "sqlite:////absolute/path")
    ),
    "experiment without a name": Case(
        "tracking.experiment=''", ("tracking.experiment=", "at least 1 character")
    ),
}
CASES = {
    f"{table}: {name}": case
    for table, cases in (
        ("key", WRONG_KEYS),
        ("value", WRONG_VALUES),
        ("name", WRONG_NAMES),
        ("file", WRONG_FILES),
        ("partition", WRONG_PARTITIONS),
        ("sparsity", WRONG_SPARSITY),
        ("tracking", WRONG_TRACKING),
    )
    for name, case in cases.items()
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with files whose content does not fit their use."""
    own = "NUMBER = 3\nclass Own: pass\ndef build(input_shape, num_classes): return {}['x']\n"
    (tmp_path / "own.py").write_text(own)
    (tmp_path / "raising.py").write_text("1 / 0\n")
    (tmp_path / "raising_twice.py").write_text("raise ValueError('one\\ntwo')\n")
    (tmp_path / "broken.yaml.py").write_text("class Own(:\n")
    (tmp_path / "broken.yaml").write_text("seed: [1\n")
    (tmp_path / "list.yaml").write_text("- seed: 1\n")
    (tmp_path / "typo.yaml").write_text("training: {ruonds: 3}\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80seed")
    return tmp_path


def _missing(line: str, case: Case, files: Path) -> list[str]:
    """The tokens of a case that the error line does not contain as whole words."""
    tokens = [token.replace("{tmp}", str(files)) for token in case.tokens]
    return [token for token in tokens if not re.search(rf"(?<![\w.]){re.escape(token)}(?!\w)", line)]


@pytest.mark.parametrize("name", CASES)
def test_run_rejects_an_invalid_request_in_one_line(
    name: str, command: Command, quick: tuple[str, ...], files: Path
) -> None:
    case = CASES[name]
    result = command("run", "--quiet", *quick, *case.arguments.replace("{tmp}", str(files)).split())
    assert (result.code, result.out) == (case.code, ""), result.err
    assert "Traceback" not in result.error_line
    assert "unexpected" not in result.error_line
    assert not _missing(result.error_line, case, files), result.error_line
    assert not list((files / "runs").glob("*/config.yaml")), "a rejected request leaves a run behind"


@pytest.mark.parametrize(
    "name", ["key: key", "file: algorithm file that raises", "tracking: unreachable server"]
)
@pytest.mark.parametrize("flag", ["--verbose", "-v"])
def test_verbose_prints_the_traceback(
    name: str, flag: str, command: Command, quick: tuple[str, ...], files: Path
) -> None:
    case = CASES[name]
    result = command("run", flag, *quick, *case.arguments.replace("{tmp}", str(files)).split())
    assert result.code == case.code
    assert result.err.startswith("Traceback (most recent call last):")
    assert 'orchestrator/cli/main.py"' in result.err
    assert not _missing(result.err.splitlines()[-1], case, files)


def test_proposed_sparsity_level_is_accepted(command: Command, quick: tuple[str, ...]) -> None:
    for method in ("randommask", "feddst"):
        rejected = command("run", "-q", *quick, f"algorithm.name={method}", "sparsity.level=0.9999")
        level = re.findall(r"0\.\d+", rejected.error_line)[-1]
        assert level < "0.9999"
        accepted = command("run", "-q", *quick, f"algorithm.name={method}", f"sparsity.level={level}")
        assert (accepted.code, accepted.err) == (0, ""), method


def test_run_does_not_contact_the_server_when_tracking_is_off(
    command: Command, quick: tuple[str, ...]
) -> None:
    result = command("run", "-q", *quick, "tracking.uri=http://127.0.0.1:1")
    assert (result.code, result.err) == (0, "")


def test_failing_client_ends_the_run_and_is_named(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    """With this learning rate the parameters overflow in the first round."""
    result = command(
        "run", "-q", *quick, "training.lr=1e30", "fleet.num_clients=1", "training.clients_per_round=1"
    )
    assert (result.code, result.out) == (1, "")
    assert result.error_line.startswith("error: client 0, round 0, train: ")
    assert "FloatingPointError" in result.error_line
    assert "training.lr" in result.error_line
    assert "3 times" in result.error_line
    assert len(list(storage.glob("fedavg-*/config.yaml"))) == 1
