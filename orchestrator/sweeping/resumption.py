"""Finds out what a resumed sweep must still do: which trials have ended, and which must run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.runtime.run_folder import has_config
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import VALUES_NOTE, Ending, EndStatus, SweepStore, current_trial
from orchestrator.sweeping.trial_run import is_complete, summarise_unfinished
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.record import committed_records, complete_lines


def restore_trials(store: SweepStore, planned: Sequence[TrialSpec]) -> list[TrialSpec]:
    """Record the trials again that `trials.jsonl` has lost, for example because it was emptied; return these trials.

    `planned` are all trials of the sweep, as far as the plan determines them. The runs' folders contain the values of
    the trials that an adaptive search chose.
    """
    recorded = {trial.number for trial in store.trials()}
    known = {trial.number: trial for trial in (*_trials_of_runs(store), *planned)}
    lost = [known[number] for number in sorted(known.keys() - recorded)]
    store.add_trials(lost)
    return lost


def _trials_of_runs(store: SweepStore) -> Iterator[TrialSpec]:
    """Yield the trial of each first run of a trial."""
    for folder in sorted(store.folder.glob(f"{store.sweep_id}-*")):
        number = folder.name.removeprefix(f"{store.sweep_id}-")
        if number.isdecimal() and is_run(folder):
            about = RunStore(folder).about()
            if isinstance(values := about.get(VALUES_NOTE), dict):
                yield TrialSpec(number=int(number), values=values)


def final_endings(
    store: SweepStore,
    trials: Sequence[TrialSpec],
    objective: Objective,
    base: Mapping[str, object],
) -> dict[int, Ending]:
    """Return the endings of the trials that finished or were stopped; these trials do not run again.

    The process may have been killed after a trial ended and before it recorded the ending. The function recognises such
    a trial by its run folder, which is complete and has the trial's config, and records the ending. Failed trials
    are not in the result, because the resumed sweep retries them.
    """
    endings = store.endings()
    for trial in trials:
        store.mark_superseded(trial.number)
        folder = store.run_folder(trial.number)
        if trial.number in endings or not is_complete(folder):
            continue
        run = RunStore(folder)
        current = current_trial(run, trial)
        if has_config(run, current.config(base)):
            ending = Ending(
                number=trial.number,
                status="finished",
                run_id=run.run_id,
                cause="",
                objective=objective.measure(committed_records(folder)),
                values=current.values,
            )
            store.add_ending(ending)
            endings[trial.number] = ending
    return {number: ending for number, ending in endings.items() if ending.status != "failed"}


def remaining_trials(
    store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending]
) -> list[TrialSpec]:
    """Return the trials that must run, with the latest values that population-based training gave them."""
    remaining = [trial for trial in trials if trial.number not in ended]
    folders = [store.run_folder(trial.number) for trial in remaining]
    return [
        current_trial(RunStore(folder), trial) if is_run(folder) else trial
        for trial, folder in zip(remaining, folders, strict=True)
    ]


def undelivered_runs(
    store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending]
) -> Iterator[tuple[Path, EndStatus]]:
    """Yield the ended runs that MLflow does not have completely, according to each run's `tracking.json`.

    The runs that population-based training superseded are included. The function writes a summary for these runs.
    """
    for trial in trials:
        for folder in store.run_folders(trial.number)[:-1]:
            if is_run(folder) and _is_undelivered(folder):
                summarise_unfinished(folder)
                yield folder, "stopped"
    for ending in ended.values():
        if ending.run_id is not None and _is_undelivered(store.folder / ending.run_id):
            yield store.folder / ending.run_id, ending.status


def _is_undelivered(folder: Path) -> bool:
    delivery = Delivery.load(folder)
    num_records = len(complete_lines(folder / "metrics.jsonl"))
    return delivery is None or not delivery.ended or delivery.num_delivered != num_records
