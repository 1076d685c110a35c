"""Checks of what clients and server send: nothing outside the mask, no more than the density, the exact length."""

from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.closed_form import closed_form_bytes
from orchestrator.contract.rounds import RecordedRound, known_upload_masks, phases, recorded_rounds
from orchestrator.contract.violation import require
from orchestrator.errors import WireError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.admission import checked
from orchestrator.sparsity.wire import decode


def check_masked_weights_stay_zero(experiment: Experiment) -> None:
    """Check that weights outside the mask are exactly 0 after each step, in the upload and at the server."""
    for recorded in recorded_rounds(experiment):
        for position in range(len(recorded.updates)):
            run = checked_run(experiment, recorded, position)
            experiment.algorithm.client_update(run)
            require(run.num_steps > 0, "the client trained on no batch")
        for model in recorded.models:
            require(
                model is None or model.mask is None or not bool(model.values[~model.mask].any()),
                "an upload has weights outside its mask",
            )
        mask = recorded.after.mask
        require(
            mask is None or not bool(recorded.after.params[~mask].any()),
            f"round {recorded.round_idx}: the server state has weights outside its mask; multiply them by the mask",
        )


def check_payloads_are_within_their_density(experiment: Experiment) -> None:
    """Check that neither side sends more than `max_density` of the layers' entries, biases included."""
    layout, algorithm = experiment.setting.layout, experiment.algorithm
    for recorded in recorded_rounds(experiment):
        for job, *models in zip(recorded.jobs, recorded.received, recorded.models, strict=True):
            allowed = algorithm.max_density(recorded.round_idx, job.task.client_id) * layout.num_trainable
            for model in models:
                kept = 0.0 if model is None else layout.density(model.mask) * layout.num_maskable
                require(
                    kept <= allowed + 1e-6,
                    f"round {recorded.round_idx}: {kept:.0f} weights sent, {allowed:.0f} allowed",
                )


def check_updates_are_accepted(experiment: Experiment) -> None:
    """Check that the server accepts every update: finite values, and a mask that `upload_mask` allows."""
    for recorded in phases(recorded_rounds(experiment)):
        for job, update, received in zip(recorded.jobs, recorded.updates, recorded.received, strict=True):
            try:
                checked(experiment, job, update, received)
            except WireError as error:
                require(False, f"round {recorded.round_idx}: the server rejects an update: {error}")


def check_message_sizes(experiment: Experiment) -> None:
    """Check that every message contains its values, headers, and the shortest encoding of masks that are not shared."""
    for recorded in phases(recorded_rounds(experiment)):
        for position in range(len(recorded.jobs)):
            _check_message_size(experiment, recorded, position)


def _check_message_size(experiment: Experiment, recorded: RecordedRound, position: int) -> None:
    layout, algorithm, job = experiment.setting.layout, experiment.algorithm, recorded.jobs[position]
    wire = experiment.config.wire
    known = known_upload_masks(experiment, recorded.received[position])
    up = closed_form_bytes(recorded.payloads[position], known, wire.value_dtype, wire.version)
    require(
        recorded.updates[position].buffer.nbytes == up, "the length of an upload differs from the closed form"
    )
    shared = algorithm.shared_mask(job.client_state)
    known = {} if shared is None else {"theta": layout.restrict(shared).numpy()}
    unicast_bytes = closed_form_bytes(
        decode(job.unicast, known_masks=known), known, wire.value_dtype, wire.version
    )
    allowed = {
        unicast_bytes + closed_form_bytes(recorded.broadcast.payload, masks, wire.value_dtype, wire.version)
        for masks in ({}, recorded.broadcast.known_masks)
    }
    require(
        recorded.download_bytes[position] in allowed, "the length of a download differs from the closed form"
    )
