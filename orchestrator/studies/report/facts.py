"""The facts with which a study's report can be checked: protocol, command, versions and run ids."""

from collections.abc import Iterator

from orchestrator.studies.execution.folder import StudyState
from orchestrator.studies.plan import NUM_AVERAGED, NUM_FINALISTS, TUNING_SEEDS
from orchestrator.studies.results import StudyResults


def protocol_lines(results: StudyResults) -> list[str]:
    """Return the protocol, which is the same for all arms."""
    plan = results.plan
    return [
        f"Scale: {plan.scale}. Reported seeds: 0 to {plan.num_seeds - 1}. Tuning seeds: "
        f"{TUNING_SEEDS[0]} to {TUNING_SEEDS[-1]}, on validation data: all values with the first seed, and the best "
        f"{NUM_FINALISTS} with all.",
        f"Learning rates tried for each arm: {', '.join(f'{lr:g}' for lr in plan.study.learning_rates)}; an arm's "
        "main option is tuned together with the learning rate.",
        f"Outcome of a run: mean of its last {NUM_AVERAGED} evaluations, at the end or within the upload cap. The "
        "number of rounds and all contrasts and rules were fixed before the study ran.",
    ]


def origin_lines(state: StudyState) -> list[str]:
    """Return the command and the versions of the study."""
    packages = ", ".join(f"{name} {number}" for name, number in state.packages.items())
    sweeps = ", ".join(f"{stage}: {name}" for stage, name in state.sweeps.items())
    return [
        f"Command: {state.command}",
        f"Versions: {packages}; commit {state.git_commit}",
        f"Sweeps: {sweeps}",
    ]


def run_lines(results: StudyResults) -> Iterator[str]:
    """Yield the run ids of every arm, in the order of the seeds."""
    for arm in results.arms:
        if arm.run_ids:
            yield f"{arm.cell.setting}, {arm.cell.arm}: {', '.join(arm.run_ids)}"
