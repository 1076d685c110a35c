"""Runs and sweeps in a real notebook kernel, as a user of Jupyter starts them."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.support.kernel import CellOutput, Kernel, running_kernel

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SETTING = """
import json
from orchestrator import ExperimentConfig, resume, run, sweep

def config(rounds, epochs=1, **runtime):
    training = {"rounds": rounds, "clients_per_round": 2, "local_epochs": epochs}
    tree = {"training": training, "fleet": {"num_clients": 4}, "tracking": {"enabled": False}}
    return ExperimentConfig.parse({**tree, "runtime": runtime})
"""
#: what Ray, Tune and tqdm print in notebooks
NOISE = ("WARNING", "INFO", "ipywidgets", "IProgress", "pid=", "Tune Status", "raylet")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with running_kernel(tmp_path_factory.mktemp("notebook")) as started:
        assert not started.execute(SETTING).error
        yield started


def interrupt_when(kernel: Kernel, *conditions: Callable[[CellOutput], bool]) -> Callable[[CellOutput], None]:
    """Return what interrupts the kernel, as the stop button does, once for each condition, in their order."""
    left = list(conditions)

    def look(output: CellOutput) -> None:
        if left and left[0](output):
            del left[0]
            kernel.manager.interrupt_kernel()

    return look


def shows_bar(output: CellOutput) -> bool:
    """Whether the rounds have started."""
    return bool(output.states)


def shows_a_round(output: CellOutput) -> bool:
    """Whether the bar has shown a finished round."""
    return any(len(states) > 1 for states in output.states.values())


def is_stopping(output: CellOutput) -> bool:
    """Whether the first interrupt has been answered."""
    return "stopping after this round" in output.text


def _printed(output: CellOutput) -> dict[str, object]:
    """The JSON object in the last line of the cell's text."""
    assert not output.error
    found: dict[str, object] = json.loads(output.text.splitlines()[-1])
    return found


def test_run_starts_ray_shows_a_bar_and_no_messages_of_ray(kernel: Kernel) -> None:
    """The kernel has not imported Ray before, whose import prints messages in notebooks."""
    output = kernel.execute("result = run(config(3)); print(json.dumps(result.num_rounds)); result")
    assert not output.error
    assert not [word for word in NOISE if word in output.text], output.text
    bar = next(iter(output.states.values()))
    assert "3/3  accuracy" in bar[-1]["text/plain"]
    assert "starting Ray on this machine" in output.text
    assert kernel.execute("import ray; print(ray.is_initialized())").text == "False\n"


@pytest.mark.parametrize("executor", ["inprocess", "ray"])
def test_interrupt_ends_the_run_after_the_round_and_resume_continues(kernel: Kernel, executor: str) -> None:
    cell = f"""
result = run(config(400, executor="{executor}"))
print(json.dumps({{"interrupted": result.interrupted, "rounds": result.num_rounds}}))
"""
    output = kernel.execute(cell, interrupt_when(kernel, shows_a_round))
    assert "stopping after this round" in output.text
    found = _printed(output)
    assert found["interrupted"] is True
    num_rounds = int(str(found["rounds"]))
    assert 1 <= num_rounds < 400
    more = kernel.execute(f"""
result = resume(result.folder, ["training.rounds={num_rounds + 1}"])
print(json.dumps({{"interrupted": result.interrupted, "rounds": result.num_rounds}}))
""")
    assert _printed(more) == {"interrupted": False, "rounds": num_rounds + 1}


@pytest.mark.parametrize("executor", ["inprocess", "ray"])
def test_second_interrupt_ends_the_cell_and_the_kernel_stays(kernel: Kernel, executor: str) -> None:
    """The round takes seconds, so that it has not ended when the second interrupt comes."""
    interrupts = interrupt_when(kernel, shows_bar, is_stopping)
    output = kernel.execute(f'run(config(2, epochs=500, executor="{executor}"))', interrupts)
    assert output.error == "KeyboardInterrupt"
    assert kernel.manager.is_alive()
    assert kernel.execute("print(1)").text == "1\n"


def test_run_and_sweep_use_the_ray_of_the_notebook_and_leave_it_running(kernel: Kernel) -> None:
    kernel.execute("import ray; ray.init(num_cpus=2, include_dashboard=False)")
    output = kernel.execute(
        "result = run(config(2)); print(json.dumps([result.num_rounds, ray.is_initialized()]))"
    )
    assert _printed(output) == [2, True]
    assert "starting Ray" not in output.text
    assert not [word for word in NOISE if word in output.text], output.text
    swept = kernel.execute("""
swept = sweep({"seed": [0, 1]}, {"training.rounds": 2, "tracking.enabled": False})
print(json.dumps([len(swept.runs), ray.is_initialized()]))
""")
    assert _printed(swept) == [2, True]
    assert swept.bar[-1]["text/plain"].split("  ")[0].endswith(": 2/2")
    assert "clear_output" not in swept.kinds, "Tune's reporter for notebooks would remove the bar"
    assert not [word for word in NOISE if word in swept.text], swept.text
    kernel.execute("ray.shutdown()")
