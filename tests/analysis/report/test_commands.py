"""The commands of the compared runs."""

import shlex
from pathlib import Path

from orchestrator.analysis import compare
from orchestrator.analysis.configurations import compared_config
from orchestrator.analysis.report.commands import command_of, commands_html
from orchestrator.analysis.runs import read_head
from orchestrator.config.overrides import flatten
from orchestrator.experiment.loading import load_config
from tests.support.run_folders import selected, write_run


def test_command_repeats_a_run(tmp_path: Path) -> None:
    overrides = ("training.lr=0.3", "data.mean=[0.5]", "data.std=[0.25]", "fleet.num_clients=7")
    folder = write_run(tmp_path / "r", *overrides, method="feddst", seed=5, options={"alpha": 0.125})
    run = read_head(folder)
    program, command, *arguments = shlex.split(command_of(run))
    assert (program, command) == ("sparsefleet", "run")
    repeated = flatten(load_config(None, arguments).to_dict())
    wanted = {**compared_config(run), "seed": 5}
    assert {key: repeated[key] for key in wanted} == wanted


def test_page_names_what_is_equal_and_each_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", "training.lr=0.3", seed=seed)
    write_run(tmp_path / "b", "training.lr=0.3", method="topk")
    html = commands_html(compare(selected(tmp_path)))
    assert "Equal for all configurations: <code>training.lr=0.3</code>" in html
    assert "seed 0: a0 (finished); seed 1: a1 (finished)" in html
    assert "algorithm.name=topk" in html
