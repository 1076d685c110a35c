"""Promises about what is sent: nothing outside the mask, no more than the density, bytes by the closed form."""

import numpy as np

from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.closed_form import closed_form_bytes
from orchestrator.contract.rounds import RecordedRound, known_upload_masks, phases, played_rounds
from orchestrator.contract.violation import hold
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.admission import checked


def check_the_mask_holds_after_every_step(experiment: Experiment) -> None:
    """Weights outside the mask are exactly 0 after each step, in the upload and at the server."""
    for played in played_rounds(experiment):
        for position in range(len(played.updates)):
            run = checked_run(experiment, played, position)
            experiment.algorithm.client_update(run)
            hold(run.num_steps > 0, "no batch was trained on")
        for model in played.models:
            hold(
                model is None or model.mask is None or not bool(model.values[~model.mask].any()),
                "an upload breaks its mask",
            )
        mask = played.after.mask
        hold(
            mask is None or not bool(played.after.params[~mask].any()),
            f"round {played.round_idx}: the server state has weights outside its mask; multiply by it",
        )


def check_payloads_are_within_their_density(experiment: Experiment) -> None:
    """Neither end sends more than the method's `max_density` of the layers' entries, biases included."""
    layout, algorithm = experiment.setting.layout, experiment.algorithm
    for played in played_rounds(experiment):
        for job, *models in zip(played.jobs, played.received, played.models, strict=True):
            allowed = algorithm.max_density(played.round_idx, job.task.client_id) * layout.num_trainable
            for model in models:
                kept = 0.0 if model is None else layout.density(model.mask) * layout.num_maskable
                hold(
                    kept <= allowed + 1e-6,
                    f"round {played.round_idx}: {kept:.0f} weights sent, {allowed:.0f} allowed",
                )


def check_updates_are_admitted(experiment: Experiment) -> None:
    """The server takes every update: it is finite, and its mask as the method's `upload_mask` says."""
    for played in phases(played_rounds(experiment)):
        for job, update, received in zip(played.jobs, played.updates, played.received, strict=True):
            try:
                checked(experiment.algorithm, job, update, received)
            except WireError as error:
                hold(False, f"round {played.round_idx}: an update is refused: {error}")


def check_bytes_are_the_closed_form(experiment: Experiment) -> None:
    """Every message is its values, plus the shortest mask where the receiver lacks it, plus headers."""
    for played in phases(played_rounds(experiment)):
        for position in range(len(played.jobs)):
            _hold_closed_form(experiment, played, position)


def _hold_closed_form(experiment: Experiment, played: RecordedRound, position: int) -> None:
    layout, algorithm, job = experiment.setting.layout, experiment.algorithm, played.jobs[position]
    value_bytes = np.dtype(experiment.config.wire.value_dtype).itemsize
    known = known_upload_masks(experiment, played.received[position])
    up = closed_form_bytes(played.payloads[position], known, value_bytes)
    hold(played.updates[position].buffer.nbytes == up, "an upload has another length")
    held = algorithm.shared_mask(job.client_state)
    alone = closed_form_bytes(
        algorithm.unicast(played.before, job.task, job.client_state),
        {} if held is None else {"theta": layout.restrict(held).numpy()},
        value_bytes,
    )
    either = {
        alone + closed_form_bytes(played.broadcast.payload, masks, value_bytes)
        for masks in ({}, played.broadcast.known_masks)
    }
    hold(played.download_bytes[position] in either, "a download has another length")
