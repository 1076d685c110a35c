"""The results of a client's task: an update, a score, or a failure with its cause."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.sparsity.payload import Payload

C = TypeVar("C")

#: accuracy of the model in use on the client's own validation part
VALIDATION_SCORE = "validation/personal_accuracy"
#: accuracies that clients measure: of the model in use, of the model just trained and of a fine-tuned copy.
#: Each model is scored on the client's own test part and on the central test set.
SCORES = (
    *(
        f"{model}/{data}"
        for model in ("personal", "trained", "finetuned")
        for data in ("accuracy", "central_accuracy")
    ),
    VALIDATION_SCORE,
)
#: name of an accuracy of clients -> its name for clients that never train (fleet.unseen_clients)
UNSEEN_SCORES = {
    "eval/client_accuracy": "eval/unseen_accuracy",
    "personal/accuracy": "personal/unseen_accuracy",
    "finetuned/accuracy": "finetuned/unseen_accuracy",
}
#: stages of a client's task whose wall-clock time is measured
STAGES = ("decode", "train", "score", "encode")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalResult(Generic[C]):
    """Return value of a method's `client_update`: the payload to upload and the state that the client keeps."""

    payload: Payload
    num_examples: int
    train_flops: float
    train_flops_dense: float
    unmasked_flops: float
    client_state: C
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClientUpdate(Generic[C]):
    """A local result as the client sends it: `buffer` (uint8[n]) is the encoded payload.

    `seconds` are the wall-clock seconds of the task's stages, by the names of `STAGES`.
    """

    round_idx: int
    position: int
    client_id: int
    buffer: NDArray[np.uint8]
    num_examples: int
    train_flops: float
    train_flops_dense: float
    unmasked_flops: float
    client_state: C
    metrics: Mapping[str, float]
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFailure:
    """A failed task: `stage` says where the task failed, `cause` says why in one line.

    The driver does not retry a `final` failure, because every retry would fail in the same way. The failure of an
    aggregator (stage `aggregator`) belongs to no client: `client_id` and `position` are -1.
    """

    round_idx: int
    position: int
    client_id: int
    stage: str
    cause: str
    traceback: str = ""
    final: bool = False

    def to_line(self) -> str:
        """The failure as one line of JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"client {self.client_id}, round {self.round_idx}, {self.stage}: {self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientScore:
    """Result of an evaluation task: accuracies by the names of `SCORES`; `seconds` as in ClientUpdate."""

    round_idx: int
    position: int
    client_id: int
    scores: Mapping[str, float]
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadReport:
    """What the server needs to know of an encoded payload that passed its check."""

    upload_bytes: int
    has_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedPayload:
    """Why an encoded payload does not count: the fields of a ClientFailure."""

    stage: str
    cause: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredUpdate(Generic[C]):
    """An update whose encoded payload stays outside the driver's process.

    `update` has an empty buffer. `encoded` refers to the payload and to all that its decoding needs. `report` waits for
    the check of the payload, which runs in another process; the result is the same at each call.
    """

    update: ClientUpdate[C]
    encoded: Any
    report: Callable[[], PayloadReport | RejectedPayload]


Outcome = ClientUpdate[C] | StoredUpdate[C] | ClientScore | ClientFailure
