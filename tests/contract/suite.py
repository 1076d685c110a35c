"""What every method must hold to: one function a promise, each with the experiment it is to be checked in.

Someone else's method is checked by the same functions:

    from tests.contract.suite import CHECKS, contract_experiment

    @pytest.mark.parametrize("check", CHECKS)
    def test_my_method(check: Check) -> None:
        CHECKS[check](contract_experiment("my_package.my_method:MyMethod"))

A check raises AssertionError with the promise that was broken and what most often breaks it, and TypeError for
a state that is no tree of tensors and numbers.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation import tree
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientScore, ClientUpdate
from orchestrator.runtime.checkpoint import Commit, CommitFolder, Templates
from orchestrator.runtime.client import Bench, ClientHost
from orchestrator.runtime.experiment import Experiment
from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode
from tests.fakes import CheckedRun, PlayedRound, experiment, known_upload_masks, play

Check = Callable[[Experiment], None]

#: bytes of the message header, of an item header without its name
_MESSAGE_BYTES, _ITEM_BYTES = 12, 16


def contract_experiment(name: str, options: Mapping[str, object] | None = None) -> Experiment:
    """Four rounds of three out of eight unequal clients on the digits, with that method.

    Readjustments and the like must happen within these rounds; `options` are dotted config keys that see to it.
    """
    return experiment({"algorithm.name": name, "data.test_fraction": 0.7, **(options or {})})


@lru_cache(maxsize=2)
def played_rounds(experiment: Experiment) -> list[PlayedRound]:
    """The rounds of an experiment, played once for all the checks that only look at them."""
    return play(experiment)


def check_deterministic(experiment: Experiment) -> None:
    """Two runs are one: the same bytes from every client, the same state after every round."""
    for first, second in zip(played_rounds(experiment), play(experiment), strict=True):
        _assert_same_round(first, second, "draw random numbers from seeds.stream alone")


def check_independent_of_the_host(experiment: Experiment) -> None:
    """A client in a new process sends the same bytes as one that shares its model object with others."""
    for played in _phases(played_rounds(experiment)):
        for job, update in zip(played.jobs, played.updates, strict=True):
            alone = ClientHost(experiment).run(
                job.task, played.broadcast.message.buffer, job.unicast, job.client_state
            )
            assert isinstance(alone, ClientUpdate), alone
            assert alone.buffer.tobytes() == update.buffer.tobytes(), (
                f"round {played.round_idx}: a new process gives another update; "
                "keep what a client remembers in run.state, not on the method or in a module"
            )


def check_pickled_copy_is_the_same(experiment: Experiment) -> None:
    """The method holds only its config and setting: it survives pickling, and no round changes it."""
    played_rounds(experiment)  # the layout remembers its sizes once they were asked for
    before = pickle.dumps(experiment.algorithm)
    attributes = set(vars(experiment.algorithm))
    rounds = play(experiment)
    assert attributes == {"config", "setting"}, (
        f"the method keeps {attributes - {'config', 'setting'}}; put it into the server or client state"
    )
    assert pickle.dumps(experiment.algorithm) == before, (
        "a round changed the method object; carry what changes in the server or client state"
    )
    copied = replace(experiment, algorithm=pickle.loads(before))  # noqa: S301
    for played, again in zip(rounds, play(copied), strict=True):
        _assert_same_round(played, again, "hold nothing that pickle leaves behind")


def check_inputs_are_left_alone(experiment: Experiment) -> None:
    """No hook writes into a tensor it was given."""
    algorithm = experiment.algorithm
    params = torch.from_numpy(experiment.initial.copy())
    untouched = digest(params)
    algorithm.init(params)
    assert digest(params) == untouched, "init wrote into the initial parameters"
    for played in _phases(played_rounds(experiment)):
        state, aggregate = played.before, played.aggregate
        contributed = [x for model in played.models if model for x in (model.values, model.mask)]
        brought = [job.client_state for job in played.jobs]
        given = (state, aggregate.values, aggregate.coverage, dict(aggregate.extras), *contributed, *brought)
        digests = [digest(x) for x in given]
        algorithm.broadcast(state)
        for job, payload in zip(played.jobs, played.payloads, strict=True):
            algorithm.unicast(state, job.task, job.client_state)
            algorithm.held_mask(job.client_state)
            algorithm.unpack(payload, job.task, job.client_state)
        algorithm.plan(state, played.round_idx)
        probing = played.jobs[0].task.kind == "probe"
        absorb = algorithm.probe_update if probing else algorithm.server_update
        absorb(state, aggregate, played.round_idx)
        assert [digest(x) for x in given] == digests, (
            f"round {played.round_idx}: a server hook wrote into the state or the aggregate; return new tensors"
        )
        for position, job in enumerate(played.jobs):
            run = _checked_run(experiment, played, position)
            taken = (
                run.received and run.received.values,
                run.received and run.received.mask,
                job.client_state,
            )
            digests = [digest(x) for x in taken]
            algorithm.client_update(run)
            assert [digest(x) for x in taken] == digests, (
                f"round {played.round_idx}: a client hook wrote into the received model or its old state; "
                "assign a new value to run.state"
            )


def check_the_mask_holds_after_every_step(experiment: Experiment) -> None:
    """Weights outside the mask are exactly 0 after each step, in the upload and at the server."""
    for played in played_rounds(experiment):
        for position in range(len(played.updates)):
            run = _checked_run(experiment, played, position)
            experiment.algorithm.client_update(run)
            assert run.num_steps > 0, "no batch was trained on"
        for model in played.models:
            assert model is None or model.mask is None or not bool(model.values[~model.mask].any()), (
                "an upload breaks its mask"
            )
        mask = played.after.mask
        assert mask is None or not bool(played.after.params[~mask].any()), (
            f"round {played.round_idx}: the server state has weights outside its mask; multiply by it"
        )


def check_payloads_are_within_their_density(experiment: Experiment) -> None:
    """Neither end sends more than the method's `max_density` of the layers' entries, biases included."""
    layout, algorithm = experiment.setting.layout, experiment.algorithm
    for played in played_rounds(experiment):
        for job, *models in zip(played.jobs, played.received, played.models, strict=True):
            allowed = algorithm.max_density(played.round_idx, job.task.client_id) * layout.num_trainable
            for model in models:
                kept = 0.0 if model is None else layout.density(model.mask) * layout.num_maskable
                assert kept <= allowed + 1e-6, (
                    f"round {played.round_idx}: {kept:.0f} weights sent, {allowed:.0f} allowed"
                )


def check_bytes_are_the_closed_form(experiment: Experiment) -> None:
    """Every message is 4 bytes a value, plus the shortest mask where the receiver lacks it, plus headers."""
    layout, algorithm = experiment.setting.layout, experiment.algorithm
    for played in _phases(played_rounds(experiment)):
        sent = zip(
            played.jobs, played.received, played.updates, played.payloads, played.download_bytes, strict=True
        )
        for job, received, update, payload, download_bytes in sent:
            known = known_upload_masks(experiment, received)
            assert update.buffer.nbytes == closed_form_bytes(payload, known), "an upload has another length"
            held = algorithm.held_mask(job.client_state)
            own = algorithm.unicast(played.before, job.task, job.client_state)
            alone = closed_form_bytes(own, {} if held is None else {"theta": layout.restrict(held).numpy()})
            broadcast = played.broadcast.payload
            either = {closed_form_bytes(broadcast, masks) for masks in ({}, played.broadcast.known_masks)}
            assert download_bytes - alone in either, "a download has another length"


def check_states_survive_a_commit(experiment: Experiment) -> None:
    """Server and client states come back bit for bit from a commit, and the next round is the same."""
    algorithm = experiment.algorithm
    rounds = played_rounds(experiment)
    for played, following in pairwise(rounds):
        fresh = algorithm.init(torch.from_numpy(experiment.initial.copy()))
        templates = Templates(server=fresh, client=algorithm.init_client(0))
        commit = Commit(
            round_idx=0,
            server_state=played.after,
            client_states=played.client_states,
            held_masks={},
            totals={},
            log_bytes={},
        )
        with TemporaryDirectory() as folder:
            CommitFolder(Path(folder)).write(commit)
            restored = CommitFolder(Path(folder)).last(templates)
        assert restored is not None
        assert digest(restored.server_state) == digest(played.after), "the server state changed in a commit"
        for client_id, state in restored.client_states.items():
            assert digest(state) == digest(played.client_states[client_id]), "a client's state changed"
        if not following.probes:
            again = algorithm.server_update(restored.server_state, following.aggregate, following.round_idx)
            assert digest(again) == digest(following.after), "a restored state gives another next round"


def check_scoring_leaves_no_trace(experiment: Experiment) -> None:
    """A client's score is repeatable, and neither changes what it brings nor what it sends afterwards."""
    last = played_rounds(experiment)[-1]
    host = ClientHost(experiment)
    for job, update in zip(last.jobs, last.updates, strict=True):
        task = ClientTask(round_idx=last.round_idx, position=0, client_id=job.task.client_id, kind="evaluate")
        scored = last.broadcast.job(task, job.client_state)
        message, before = last.broadcast.message.buffer, digest(job.client_state)
        scores = [host.run(task, message, scored.unicast, job.client_state) for _ in range(2)]
        assert isinstance(scores[0], ClientScore), scores[0]
        assert digest(job.client_state) == before, "`personal` wrote into the client's state"
        assert scores[0] == scores[1], "the same client is scored differently; draw from seeds.stream alone"
        assert 0.0 <= scores[0].scores["personal"] <= 1.0
        again = host.run(job.task, message, job.unicast, job.client_state)
        assert isinstance(again, ClientUpdate), again
        assert again.buffer.tobytes() == update.buffer.tobytes(), (
            "scoring a client changes its next update; put back what `personal` changes beside run.values"
        )


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "deterministic": check_deterministic,
        "independent of the host": check_independent_of_the_host,
        "pickled copy is the same": check_pickled_copy_is_the_same,
        "inputs are left alone": check_inputs_are_left_alone,
        "the mask holds after every step": check_the_mask_holds_after_every_step,
        "payloads are within their density": check_payloads_are_within_their_density,
        "bytes are the closed form": check_bytes_are_the_closed_form,
        "states survive a commit": check_states_survive_a_commit,
        "scoring leaves no trace": check_scoring_leaves_no_trace,
    }
)


def closed_form_bytes(payload: Payload, known: Mapping[str, Bool]) -> int:
    """Bytes that the items must take by the wire's documented format, float32 values, counted without it."""
    total = _MESSAGE_BYTES if payload else 0
    for item in payload:
        total += _ITEM_BYTES + (len(item.name.encode()) + 3) // 4 * 4
        match item:
            case Dense():
                total += 4 * item.values.size
            case Masked():
                total += 4 * item.values.size + _mask_bytes(item.mask, known.get(item.name))
            case Bits():
                total += (item.bits.size + 7) // 8
            case Scalar():
                total += 8
    return total


def _mask_bytes(mask: Bool, known: Bool | None) -> int:
    """0 if both ends hold the mask or it is all ones; else the shorter of a bitmap and 7 bits a byte of gaps."""
    if mask.all() or (known is not None and np.array_equal(mask, known)):
        return 0
    kept = [-1, *np.flatnonzero(mask).tolist()]
    gaps = [b - a - 1 for a, b in pairwise(kept)]
    varints = sum(max(1, -(-gap.bit_length() // 7)) for gap in gaps)
    return min((mask.size + 7) // 8, varints)


def digest(state: object) -> str:
    """A hash of every leaf of a tree: types, dtypes, shapes and bits. Raises TypeError for what is no tree."""
    digest = sha256()
    for path, leaf in tree.flatten(state):
        digest.update(f"{path}:{type(leaf).__name__}:".encode())
        if isinstance(leaf, Tensor):
            digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            digest.update(leaf.contiguous().numpy().tobytes())
        else:
            digest.update(repr(leaf).encode())
    return digest.hexdigest()


def _assert_same_round(first: PlayedRound, second: PlayedRound, hint: str) -> None:
    for one, other in zip(first.updates, second.updates, strict=True):
        assert (one.client_id, one.buffer.tobytes()) == (other.client_id, other.buffer.tobytes()), (
            f"round {first.round_idx}: the update of client {one.client_id} differs; {hint}"
        )
    assert digest(first.after) == digest(second.after), (
        f"round {first.round_idx}: the server state differs; {hint}"
    )
    assert digest(_by_name(first.client_states)) == digest(_by_name(second.client_states)), (
        f"round {first.round_idx}: client states differ; {hint}"
    )


def _by_name(client_states: Mapping[int, object]) -> dict[str, object]:
    return {str(k): state for k, state in client_states.items()}


def _phases(rounds: list[PlayedRound]) -> list[PlayedRound]:
    """The probes too, in order."""
    return [phase for played in rounds for phase in (*played.probes, played)]


def _checked_run(experiment: Experiment, played: PlayedRound, position: int) -> CheckedRun:
    """The task of that position, in a fresh host, with the received model as tensors of its own."""
    job, received = played.jobs[position], played.received[position]
    if received is not None:
        mask = None if received.mask is None else received.mask.clone()
        received = ModelValues(received.values.clone(), mask)
    held = experiment.algorithm.held_mask(job.client_state)
    own = decode(job.unicast, known_masks=known_masks(experiment.setting.layout, held))
    return CheckedRun(
        setting=experiment.setting,
        task=job.task,
        host=Bench(experiment, torch.device("cpu")),
        received=received,
        payload=played.broadcast.decoded + own,
        state=job.client_state,
    )
