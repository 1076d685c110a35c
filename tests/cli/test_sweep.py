"""`sweep` refuses what cannot be done before it starts anything, in one line."""

from pathlib import Path

import pytest

from tests.support.command import Command

DRAWN = '"""One drawn key."""\nfrom ray import tune\nSPACE = {"training.lr": tune.loguniform(0.01, 0.1)}\n'


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["smok"], "error: SPACE=smok: "),
        (["nowhere.py"], "error: SPACE=nowhere.py: there is no file "),
        (
            ["smoke", "--objective", "loss"],
            "error: --objective=loss: ",
        ),
        (
            ["smoke", "--objective", "accuracy_at_upload=lots"],
            "error: --objective=accuracy_at_upload=lots: ",
        ),
        (
            ["smoke", "--search", "grit"],
            "error: --search=grit: input should be 'grid', 'random', 'tpe' or 'nsga2'",
        ),
        (
            ["smoke", "--num-samples", "0"],
            "error: --num-samples=0: input should be greater than or equal to 1",
        ),
        (["smoke", "--num-samples", "3"], "error: --num-samples=3: "),
        (["smoke", "--scheduler", "pbt"], "error: --scheduler=pbt: "),
        (
            ["smoke", "--scheduler", "asha", "--objective", "pareto"],
            "error: --scheduler=asha: ",
        ),
        (["smoke", "--grace-rounds", "2"], "error: --grace-rounds=2: "),
        (["smoke", "--search", "nsga2"], "error: --search=nsga2: "),
        (
            ["smoke", "training.lrr=1"],
            "error: training.lrr=1: there is no such key; did you mean training.lr?",
        ),
        (["smoke", "training.lr=[0.1, -1]"], "error: training.lr=-1: "),
        (
            ["smoke", "runtime.executor=[ray, inprocess]"],
            "error: runtime.executor=(several values): ",
        ),
        (["feddst", "seed=[0, 1]", "--seeds", "2"], "error: --seeds=2: "),
        (["smoke", "--resume"], "error: SWEEP=smoke: "),
        (
            ["smoke", "--resume", "training.lr=1"],
            "error: KEY=VALUE=training.lr=1: a sweep that goes on keeps what it was started ",
        ),
        (
            ["smoke", "--resume", "--seeds", "2"],
            "error: --seeds=2: a sweep that goes on keeps what it was started ",
        ),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    command: Command, storage: Path, words: list[str], line: str
) -> None:
    ended = command("sweep", "--storage", storage, *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)
    assert ended.err.count("\n") == 1
    assert not storage.exists() or not list(storage.iterdir())


def test_a_space_of_ones_own_is_checked_too(command: Command, storage: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DRAWN.replace("training.lr", "training.learning_rate"))
    ended = command("sweep", file, "--storage", storage)
    assert ended.code == 2
    assert "training.learning_rate" in ended.err
    assert "there is no such key" in ended.err
    file = tmp_path / "empty.py"
    file.write_text('"""Nothing."""\n')
    ended = command("sweep", file, "--storage", storage)
    assert ended.code == 2
    assert ended.err.startswith(f"error: SPACE={file}: ")


def test_every_space_is_listed_with_what_varies(command: Command) -> None:
    ended = command("list", "spaces")
    assert ended.code == 0
    for name in (
        "algorithms",
        "sparsity",
        "schedules",
        "feddst",
        "fedspa",
        "ssfl",
        "fedlps",
        "heterogeneity",
        "smoke",
    ):
        assert any(line.startswith(f"{name} ") for line in ended.out.splitlines())
    assert "sparsity.schedule.final_level" in ended.out


def test_help_has_examples(command: Command) -> None:
    for name in ("sweep", "compare"):
        ended = command(name, "--help")
        assert ended.code == 0
        assert f"sparsefleet {name}" in ended.out


@pytest.mark.parametrize(("words", "used"), [([], "of-file"), (["--storage", "asked"], "asked")])
def test_the_sweep_is_kept_where_the_config_file_says_unless_it_is_asked_for_elsewhere(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], used: str
) -> None:
    """Neither place can be made, so that nothing begins."""
    monkeypatch.chdir(tmp_path)
    for name in ("of-file", "asked"):
        (tmp_path / name).touch()
    file = tmp_path / "config.yaml"
    file.write_text("runtime: {storage: of-file}\n")
    ended = command("sweep", "smoke", "-c", file, *words)
    assert ended.code == 2
    assert ended.err.startswith(f"error: runtime.storage={used}: the folder cannot be made (File exists); ")
