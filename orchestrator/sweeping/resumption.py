"""What a sweep that goes on finds: which trials have ended, and how the others begin."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.runtime.run_folder import config_digest
from orchestrator.storage.folders import is_run
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import Ending, EndStatus, SweepStore, present_trial
from orchestrator.sweeping.trial import is_complete, summarise_unfinished
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.record import committed_records, complete_lines


def settled(
    store: SweepStore,
    trials: Sequence[TrialSpec],
    objective: Objective,
    base: Mapping[str, object],
) -> dict[int, Ending]:
    """The endings of the trials that are not to run again: those that finished or were stopped.

    A kill may come between a trial's end and the note of it; such a trial is recognised by its run's folder, which is
    complete and of the trial's config, and its ending is noted now. Trials that failed are tried again.
    """
    endings = store.endings()
    for trial in trials:
        store.mark_superseded(trial.number)
        folder = store.run_folder(trial.number)
        if trial.number in endings or not is_complete(folder):
            continue
        run = RunStore(folder)
        present = present_trial(run, trial)
        if run.about()["fingerprint"]["config"] == config_digest(present.config(base)):
            ending = Ending(
                number=trial.number,
                status="finished",
                run_id=run.run_id,
                cause="",
                objective=objective.measure(committed_records(folder)),
                values=present.values,
            )
            store.add_ending(ending)
            endings[trial.number] = ending
    return {number: ending for number, ending in endings.items() if ending.status != "failed"}


def left_over(store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending]) -> list[TrialSpec]:
    """The trials that are to run, with the values that population-based training last gave them."""
    left = [trial for trial in trials if trial.number not in ended]
    folders = [store.run_folder(trial.number) for trial in left]
    return [
        present_trial(RunStore(folder), trial) if is_run(folder) else trial
        for trial, folder in zip(left, folders, strict=True)
    ]


def undelivered(
    store: SweepStore, trials: Sequence[TrialSpec], ended: Mapping[int, Ending]
) -> Iterator[tuple[Path, EndStatus]]:
    """The runs that have ended and that MLflow does not hold whole, as each one's own `tracking.json` says.

    Those that their trial went on without (population-based training) are among them, with a summary.
    """
    for trial in trials:
        for folder in store.run_folders(trial.number)[:-1]:
            if is_run(folder) and _lacks(folder):
                summarise_unfinished(folder)
                yield folder, "stopped"
    for ending in ended.values():
        if ending.run_id is not None and _lacks(store.folder / ending.run_id):
            yield store.folder / ending.run_id, ending.status


def _lacks(folder: Path) -> bool:
    delivery = Delivery.load(folder)
    num_records = len(complete_lines(folder / "metrics.jsonl"))
    return delivery is None or not delivery.ended or delivery.num_delivered != num_records
