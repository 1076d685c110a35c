"""What is wrong ends a command with the right code and one line that says what, and how to put it right."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from algorithms import algorithm_names
from tests.support.command import Command


@dataclass(frozen=True)
class Row:
    """`words` follow a quick run's overrides; the one line on standard error holds every one of `says`."""

    words: str
    says: tuple[str, ...]
    code: int = 2


WRONG_KEYS = {
    "key": Row("training.round=3", ("training.round=3", "no such key", "did you mean 'training.rounds'?")),
    "section": Row("trainin.rounds=3", ("trainin=", "no such key", "did you mean 'training'?")),
    "section below": Row("data.partitoin.alpha=1", ("data.partitoin=", "did you mean 'data.partition'")),
    "key without its section": Row("num_clients=3", ("num_clients=3", "did you mean 'fleet.num_clients'?")),
    "key like no other": Row("zzz=3", ("zzz=3", "no such key", "sparsefleet list keys")),
    "value as a section": Row("seed.x=1", ("seed", "input should be a valid integer")),
    "section as a value": Row("training=5", ("training=5", "dictionary")),
    "no assignment": Row("training.rounds", ("KEY=VALUE=training.rounds", "not an assignment")),
    "no key": Row("=3", ("=3", "not an assignment")),
}
WRONG_VALUES = {
    "word for a number": Row("training.rounds=many", ("training.rounds=many", "valid integer")),
    "fraction for a whole number": Row("training.rounds=2.5", ("training.rounds=2.5", "integer")),
    "truth for a number": Row("training.rounds=true", ("training.rounds=", "valid integer")),
    "number beyond all bounds": Row(f"seed={'9' * 400}", ("seed=9", "less than")),
    "number beyond what Python reads": Row(f"seed={'9' * 5000}", ("seed=9", "integer")),
    "list for a number": Row("training.lr=[1]", ("training.lr=[1]", "valid number")),
    "out of range below": Row("training.lr=0", ("training.lr=0", "greater than 0")),
    "out of range above": Row("sparsity.level=1", ("sparsity.level=1", "less than 1")),
    "not finite": Row("training.lr=.nan", ("training.lr=nan", "finite")),
    "no such choice": Row("training.optimizer=sdg", ("training.optimizer=sdg", "'sgd', 'adam' or 'adamw'")),
    "dtype that is not offered": Row("wire.value_dtype=bfloat16", ("'float32' or 'float16'",)),
    "null for a number": Row("fleet.num_clients=null", ("fleet.num_clients=None", "integer")),
    "more updates demanded than drawn": Row(
        "runtime.failure_policy=drop runtime.min_clients=3",
        ("runtime.min_clients=3", "training.clients_per_round=2"),
    ),
    "more drawn than there are": Row(
        "training.clients_per_round=5",
        ("training.clients_per_round=5", "fleet.num_clients=4", "use 4 or fewer"),
    ),
}
WRONG_NAMES = {
    "algorithm": Row("algorithm.name=fedavgg", ("algorithm.name=fedavgg", "did you mean 'fedavg'?")),
    "algorithm like no other": Row(
        "algorithm.name=zzz", (f"choose one of {', '.join(sorted(algorithm_names()))}",)
    ),
    "model": Row("model.name=mpl", ("model.name=mpl", "did you mean 'mlp'?")),
    "data set": Row("data.name=digitz", ("data.name=digitz", "did you mean 'digits'?")),
    "fleet": Row("fleet.name=unifrm", ("fleet.name=unifrm", "did you mean 'uniform'?")),
    "option of a method": Row(
        "algorithm.name=fedprox algorithm.muu=1", ("algorithm.muu=1", "did you mean 'algorithm.mu'?")
    ),
    "option of another method": Row(
        "algorithm.name=fedavgm algorithm.mu=1", ("algorithm.mu=1", "no such key")
    ),
    "value of an option": Row(
        "algorithm.name=fedprox algorithm.mu=-1", ("algorithm.mu=-1", "greater than or equal to 0")
    ),
    "ratio that nobody asks for": Row(
        "algorithm.name=heterofl algorithm.ratio=0.25",
        ("algorithm.ratio=0.25", "ratio_policy=capability chooses the ratio", "algorithm.ratio_policy=fixed"),
    ),
    "bandit over widths": Row(
        "algorithm.name=fjord algorithm.ratio_policy=p_ucbv",
        ("algorithm.ratio_policy=p_ucbv", "algorithm.widths", "capability or fixed"),
    ),
    "gate without validation": Row(
        "algorithm.name=lotteryfl data.validation_fraction=0",
        (
            "data.validation_fraction=0.0",
            "client 0 has no validation sample, which lotteryfl needs",
            "raise it",
        ),
    ),
    "device that the fleet lacks": Row(
        "algorithm.name=fedspa sparsity.device_levels.tier9=0.5",
        ("sparsity.device_levels.tier9=0.5", "the fleet's profiles are default", "name one of these"),
    ),
    "options that contradict the training": Row(
        "algorithm.name=feddst algorithm.adjust_after_epoch=2",
        ("algorithm.adjust_after_epoch=2", "at most 1"),
    ),
}
WRONG_FILES = {
    "algorithm file missing": Row(
        "algorithm.name={tmp}/none.py:Own", ("algorithm.name=", "there is no file")
    ),
    "algorithm class missing": Row(
        "algorithm.name={tmp}/own.py:Ownn", ("has no Ownn", "did you mean 'Own'?")
    ),
    "algorithm file without a class": Row("algorithm.name={tmp}/own.py", ("algorithm.name=", "own.py")),
    "algorithm that is none": Row("algorithm.name={tmp}/own.py:Own", ("not a subclass of Algorithm",)),
    "algorithm raising": Row(
        "algorithm.name={tmp}/raising.py:Own",
        ("raising.py raised", "ZeroDivisionError", "correct that module"),
    ),
    "algorithm raising in two lines": Row(
        "algorithm.name={tmp}/raising_twice.py:Own", ("ValueError", "one", "two", "correct that module")
    ),
    "algorithm not parsing": Row("algorithm.name={tmp}/broken.yaml.py:Own", ("SyntaxError",)),
    "algorithm module missing": Row("algorithm.name=no_such.thing:Own", ("there is no module no_such",)),
    "model file missing": Row("model.name={tmp}/none.py:build", ("model.name=", "there is no file")),
    "model raising": Row("model.name={tmp}/own.py:build", ("model.name=", "KeyError", "correct the model")),
    "model not callable": Row("model.name={tmp}/own.py:NUMBER", ("model.name=", "it is a int")),
    "model too large for the images": Row("model.name=vgg11", ("model.name=vgg11", "8x8", "data.image_size")),
    "start missing": Row("model.init={tmp}/none.safetensors", ("model.init=", "cannot be read")),
    "start that is none": Row("model.init={tmp}/own.py", ("model.init=", "cannot be read")),
    "data root missing": Row(
        "data.name=mnist data.root={tmp}/none", ("data.root=", "there is no such file or folder", "MNIST/raw")
    ),
    "data root of nobody": Row("data.name=npz data.root=~no-such-user/x.npz", ("data.root=~no-such-user",)),
    "data root not given": Row("data.name=npz", ("data.root=None", "say where they are")),
    "data root not wanted": Row("data.root={tmp}", ("data.root=", "leave it out")),
    "data root without the data": Row(
        "data.name=mnist data.root={tmp}", ("data.root=", "train-images-idx3-ubyte")
    ),
    "client column without columns": Row("data.client_column=id", ("data.client_column=id", "leave it out")),
    "config file missing": Row("-c {tmp}/none.yaml", ("--config=", "none.yaml", "No such file")),
    "config file that is a folder": Row("-c {tmp}", ("--config=", "Is a directory")),
    "config file that is not YAML": Row("-c {tmp}/broken.yaml", ("--config=", "is not YAML")),
    "config file that is a list": Row("-c {tmp}/list.yaml", ("--config=", "mapping")),
    "config file that is not text": Row("-c {tmp}/binary.yaml", ("--config=", "binary.yaml")),
    "config file with an unknown key": Row("-c {tmp}/typo.yaml", ("training.ruonds=3", "'training.rounds'?")),
    "summary onto a folder": Row("--summary {tmp}", ("--summary=", "folder")),
    "storage below a file": Row("runtime.storage={tmp}/own.py/runs", ("runtime.storage=",)),
    "storage that is a file": Row("runtime.storage={tmp}/own.py", ("runtime.storage=",)),
}
WRONG_SPLITS = {
    "more clients than samples": Row(
        "fleet.num_clients=5000", ("fleet.num_clients=5000", "1438 training samples", "at most 719 clients")
    ),
    "more shards than samples": Row(
        "data.partition.kind=shards data.partition.shard_size=400",
        ("data.partition.shard_size=400", "1438 training samples make 3", "make the shards smaller"),
    ),
    "more classes than there are": Row(
        "data.partition.kind=shards data.partition.classes_per_client=11",
        ("data.partition.classes_per_client=11", "there are 10 classes", "take fewer"),
    ),
    "shards too small": Row(
        "data.partition.kind=shards data.partition.shard_size=1 data.partition.min_samples=5",
        ("data.partition.min_samples=5", "1438 training samples in 8 shards"),
    ),
    "dirichlet too uneven": Row(
        "fleet.num_clients=100 data.partition.alpha=0.01 data.partition.min_samples=14",
        ("data.partition.alpha=0.01", "data.partition.min_samples=14", "balanced_dirichlet"),
    ),
    "natural without ids": Row(
        "data.partition.kind=natural", ("data.partition.kind=natural", "no client ids", "data.client_column")
    ),
    "validation of everything": Row(
        "data.validation_fraction=1", ("data.validation_fraction=1", "less than 1")
    ),
}
WRONG_SPARSITY = {
    "a dense method": Row(
        "sparsity.level=0.5", ("sparsity.level=0.5", "fedavg does not take a sparsity level")
    ),
    "a layer emptied": Row(
        "algorithm.name=randommask sparsity.level=0.9999",
        ("sparsity.level=0.9999:", "20000 weights of layer fc2.weight", "lower it to 0.9949"),
    ),
    "a layer emptied while readjusting": Row(
        "algorithm.name=feddst sparsity.level=0.9999", ("sparsity.level=0.9999:", "layer", "lower it to")
    ),
    "a schedule nobody follows": Row(
        "algorithm.name=randommask sparsity.schedule.kind=cubic",
        ("sparsity.schedule.kind=cubic", "randommask keeps its sparsity", "use constant"),
    ),
}
WRONG_TRACKING = {
    "server away": Row(
        "tracking.enabled=true tracking.uri=http://127.0.0.1:1",
        ("tracking.uri=http://127.0.0.1:1", "does not answer", "mlflow server"),
        code=1,
    ),
    "no place": Row("tracking.enabled=true tracking.uri=here", ("tracking.uri=here", "sqlite:///")),
    "experiment without a name": Row(
        "tracking.experiment=''", ("tracking.experiment=", "at least 1 character")
    ),
}
ROWS = {
    f"{table}: {name}": row
    for table, rows in (
        ("key", WRONG_KEYS),
        ("value", WRONG_VALUES),
        ("name", WRONG_NAMES),
        ("file", WRONG_FILES),
        ("split", WRONG_SPLITS),
        ("sparsity", WRONG_SPARSITY),
        ("tracking", WRONG_TRACKING),
    )
    for name, row in rows.items()
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with files that are not what they are taken for."""
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


@pytest.mark.parametrize("name", ROWS)
def test_it_is_refused_in_one_line(name: str, command: Command, quick: tuple[str, ...], files: Path) -> None:
    row = ROWS[name]
    ended = command("run", "--quiet", *quick, *row.words.replace("{tmp}", str(files)).split())
    assert ended.code == row.code, ended.err
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    assert "unexpected" not in line
    for said in row.says:
        assert said in line
    assert not list((files / "runs").glob("*/config.yaml")), "a refused request leaves a run behind"


@pytest.mark.parametrize("name", ["key: key", "file: algorithm raising", "tracking: server away"])
@pytest.mark.parametrize("flag", ["--verbose", "-v"])
def test_verbose_shows_where(
    name: str, flag: str, command: Command, quick: tuple[str, ...], files: Path
) -> None:
    row = ROWS[name]
    ended = command("run", flag, *quick, *row.words.replace("{tmp}", str(files)).split())
    assert ended.code == row.code
    assert ended.err.startswith("Traceback (most recent call last):")
    assert 'orchestrator/cli/main.py"' in ended.err
    assert all(said in ended.err.splitlines()[-1] for said in row.says)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bogus", "bogus"),
        ("run --bogus", "--bogus"),
        ("run -c", "-c"),
        ("list", "WHAT"),
        ("list algorithms models", "models"),
        ("resume", "RUN"),
        ("ui --port 0", "--port"),
        ("ui --port http", "--port"),
        ("--bogus run", "--bogus"),
    ],
)
def test_a_command_that_does_not_exist_is_a_wrong_request(words: str, said: str, command: Command) -> None:
    ended = command(*words.split())
    assert ended.code == 2
    assert said in ended.err
    assert "error: unexpected" not in ended.err
    assert "Traceback" not in ended.err


def test_no_command_shows_the_help(command: Command) -> None:
    ended = command()
    assert "Usage: sparsefleet" in ended.out + ended.err
    assert "error:" not in ended.err
    assert ended.code in (0, 2)


@pytest.mark.parametrize("words", ["--help", "run --help", "list --help"])
def test_help_is_no_failure(words: str, command: Command) -> None:
    ended = command(*words.split())
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: sparsefleet" in ended.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("list planets", ("WHAT=planets", "algorithms, models, datasets, fleets")),
        ("partition data.partition.kind=natural", ("data.partition.kind=natural", "no client ids")),
        ("partition trainin.lr=1", ("trainin=", "did you mean 'training'?")),
        ("partition -c /no/such.yaml", ("--config=/no/such.yaml",)),
        ("resume nothing --storage {tmp}/none", ("RUN=nothing", "no such run", "none")),
        ("resume {tmp}", ("RUN=", "no such run")),
        ("ui --storage {tmp}", ("--storage=", "no MLflow store", "run an experiment first")),
    ],
)
def test_the_other_commands_refuse_in_one_line_too(
    words: str, says: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    ended = command(*words.replace("{tmp}", str(tmp_path)).split())
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert all(said in line for said in says), line


def test_the_level_proposed_for_a_method_is_one_it_takes(command: Command, quick: tuple[str, ...]) -> None:
    for method in ("randommask", "feddst"):
        refused = command("run", "-q", *quick, f"algorithm.name={method}", "sparsity.level=0.9999")
        _, _, proposal = refused.err.partition("lower it to ")
        level = proposal.split()[0]
        taken = command("run", "-q", *quick, f"algorithm.name={method}", f"sparsity.level={level}")
        assert (taken.code, taken.err) == (0, ""), method


def test_a_server_is_not_asked_for_when_nothing_is_tracked(command: Command, quick: tuple[str, ...]) -> None:
    ended = command("run", "-q", *quick, "tracking.uri=http://127.0.0.1:1")
    assert (ended.code, ended.err) == (0, "")


def test_a_client_that_fails_ends_the_run_with_its_name(
    command: Command, quick: tuple[str, ...], storage: Path
) -> None:
    """A learning rate beyond all bounds: the parameters overflow in the first round."""
    ended = command(
        "run", "-q", *quick, "training.lr=1e30", "fleet.num_clients=1", "training.clients_per_round=1"
    )
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: client 0, round 0, train: FloatingPointError: ")
    assert "lower training.lr" in line
    assert "tried 3 times" in line
    assert len(list(storage.glob("fedavg-*/config.yaml"))) == 1
