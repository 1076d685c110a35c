"""Devices that drop out of a training task: at the end of their availability, or by their profile's `dropout`."""

from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.client_event import ClientEvent, interrupted_event
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.fleet.profiles import DeviceProfile


def dropout_time(
    experiment: Experiment, task: ClientTask, profile: DeviceProfile, start_s: float
) -> tuple[float, float]:
    """When the device of a training task drops out: (emulated seconds after the start, share of the task's time).

    The seconds are those to the end of the device's availability (inf: the device stays). The share is uniform in
    (0, 1) for a device that drops out with its profile's probability, and 1 for every other device.
    """
    available_s = experiment.setting.population.available_until(task.client_id, start_s) - start_s
    if profile.dropout:
        path = ("client", task.round_idx, task.client_id, task.position, "dropout")
        rng = stream(experiment.config.seed, *path)
        if rng.random() < profile.dropout:
            return available_s, float(rng.random())
    return available_s, 1.0


def with_dropout(
    experiment: Experiment, task: ClientTask, profile: DeviceProfile, event: ClientEvent
) -> ClientEvent:
    """The event of a task, shortened for a training task whose device drops out. Other tasks always finish."""
    if task.kind != "train":
        return event
    available_s, share = dropout_time(experiment, task, profile, event.start_s)
    dropout_s = min(available_s, event.total_s * share)
    return interrupted_event(event, dropout_s) if dropout_s < event.total_s else event
