"""Changes that make a client's honest update or score hostile, by kind: `python -m tests.fuzz.updates` sends them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import WireError
from orchestrator.federation import tree
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.update import ClientScore, ClientUpdate
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, Scalar, with_values
from orchestrator.sparsity.value_coding import decode_values, encode_values
from orchestrator.sparsity.wire import decode, encode
from orchestrator.sparsity.wire_frame import Frame, ValueDtype, WireVersion, pack_frame, parse_frame
from tests.fuzz.mutation import mutated

_COUNTS: Sequence[object] = (0, -1, 1, 10**18, 2**63, 1.7e308, 0.5, float("nan"), None, "12", True)
_FLOPS: Sequence[object] = (-1.0, float("nan"), float("inf"), 1.7e308, 10**25, None, "12", True)
#: the ids of a task are integers of Python
_IDS: Sequence[object] = (-1, 77, None, 0.0, 1.0, True, np.int64(0), np.int64(1), np.array([1, 2]))
_SCORES: Sequence[object] = (
    None,
    [],
    {"personal/accuracy": None},
    {"personal/accuracy": float("nan")},
    {"personal/accuracy": 1.7e308},
    {"personal/accuracy": -0.1},
    {"personal/accuracy": "1"},
    {"personal/accuracy": np.float32(1.0)},
    {"unknown": 0.5},
    {1: 0.5},
)
_METRICS: Sequence[object] = (
    None,
    [],
    {"loss": None},
    {"loss": np.float32(1.0)},
    {"loss": torch.tensor(1.0)},
    {1: 1.0},
    {"loss": 10**400},
    {f"m{i}": 0.0 for i in range(10_000)},
)
_SECONDS: Sequence[object] = (
    None,
    [],
    {"train": None},
    {"train": -1.0},
    {"train": np.nan},
    {"train": np.inf},
    {"train": 1},
    {"further": 1.0},
    {1: 1.0},
)

Update = ClientUpdate[Any]
Change = Callable[[np.random.Generator, Any], Any]


def chosen(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _with_field(name: str, values: Sequence[object]) -> Change:
    return lambda rng, update: replace(update, **{name: chosen(rng, values)})


def _with_buffer(make: Callable[[np.random.Generator, bytes], bytes]) -> Change:
    def change(rng: np.random.Generator, update: Update) -> Update:
        return replace(update, buffer=np.frombuffer(make(rng, update.buffer.tobytes()), np.uint8))

    return change


def _with_payload(make: Callable[[np.random.Generator], Payload]) -> Change:
    def change(rng: np.random.Generator, update: Update) -> Update:
        return replace(update, buffer=np.frombuffer(encode(make(rng)), np.uint8))

    return change


def with_item(make: Callable[[np.random.Generator, Item], Payload]) -> Change:
    """Replace one item of the payload. A payload with a shared mask cannot be decoded here and becomes empty."""

    def change(rng: np.random.Generator, update: Update) -> Update:
        try:
            payload = decode(update.buffer)
        except Exception:
            payload = ()
        if payload:
            place = int(rng.integers(len(payload)))
            payload = (*payload[:place], *make(rng, payload[place]), *payload[place + 1 :])
        return replace(update, buffer=np.frombuffer(encode(payload), np.uint8))

    return change


def _in_other_format(rng: np.random.Generator, data: bytes) -> bytes:
    """The same payload in another version or with another dtype of values than the config's."""
    if not data:
        return data
    frame = parse_frame(data)
    if rng.random() < 0.5:
        return _in_version(1 if frame.version == 2 else 2, data, frame)
    unknown = {frame.value_dtype, *(("int8",) if frame.version == 1 else ())}
    others: list[ValueDtype] = [d for d in get_args(ValueDtype) if d not in unknown]
    return _with_dtype(chosen(rng, others), frame)


def _in_version(version: WireVersion, data: bytes, frame: Frame) -> bytes:
    try:
        return encode(decode(data), value_dtype=frame.value_dtype, version=version)
    except WireError:  # a mask that the receiver has is coded alike in all versions
        sections = [*frame.sections()]
        parts = [values for _, values, _ in sections] + [mask for *_, mask in sections]
        return pack_frame(frame.headers, frame.value_dtype, parts, version)


def _with_dtype(dtype: ValueDtype, frame: Frame) -> bytes:
    values, masks = [], []
    for header, value_section, mask_section in frame.sections():
        if header.kind != "scalar":
            decoded = decode_values(value_section, frame.value_dtype)
            value_section = encode_values(header.name, decoded, dtype, np.random.default_rng(0))
        values.append(value_section)
        masks.append(mask_section)
    return pack_frame(frame.headers, dtype, values + masks, frame.version)


def _renamed(item: Item, name: str) -> Item:
    return Masked(name, item.values, item.mask) if isinstance(item, Masked) else replace(item, name=name)


def _resized(rng: np.random.Generator, item: Item) -> Payload:
    more = bool(rng.integers(2))
    match item:
        case Dense():
            values = np.append(item.values, np.float32(0)) if more else item.values[:-1]
            return (replace(item, values=values),)
        case Bits():
            return (replace(item, bits=np.append(item.bits, True) if more else item.bits[:-1]),)
        case Masked():
            return (Dense(item.name, np.zeros(item.mask.size + 1, np.float32)),)
        case _:
            return (Bits(item.name, np.ones(3, np.bool_)),)


def _not_finite(rng: np.random.Generator, item: Item) -> Payload:
    value = np.float32(chosen(rng, (np.nan, np.inf, -np.inf)))
    match item:
        case Dense() | Masked() if item.values.size:
            values = item.values.copy()
            values[int(rng.integers(values.size))] = value
            return (with_values(item, values),)
        case Scalar():
            return (replace(item, value=float(value)),)
        case _:
            return (Scalar(item.name, float(value)),)


def _mutated_buffer(rng: np.random.Generator, update: Update) -> Update:
    """Changed bytes of a valid payload: garbage in most cases, sometimes a payload with other values."""
    data = mutated(rng, update.buffer.tobytes(), [update.buffer.tobytes()])
    return replace(update, buffer=np.frombuffer(data, np.uint8))


def _score(update: Update) -> ClientScore:
    return ClientScore(
        round_idx=update.round_idx, position=update.position, client_id=update.client_id, scores={}
    )


def _other_values(rng: np.random.Generator, item: Item) -> Payload:
    scale = np.float32(chosen(rng, (0.0, -1.0, 1e-30, 100.0, 1e30)))
    match item:
        case Dense() | Masked():
            values = np.clip(item.values * np.float64(scale), -3e38, 3e38).astype(np.float32)
            return (with_values(item, values),)
        case Bits():
            return (replace(item, bits=rng.random(item.bits.size) < 0.5),)
        case _:
            return (replace(item, value=chosen(rng, (0.0, -1.0, 0.5, 1e30))),)


def _other_state(rng: np.random.Generator, update: Update) -> Update:
    """Another client state: None, another class, or one leaf of another shape, dtype or type."""
    state = update.client_state
    leaves = dict(tree.flatten(state))
    other: object = chosen(rng, ({"unknown": torch.zeros(2)}, [1], (), object(), torch.zeros(3)))
    if state is not None and rng.random() < 0.2:
        other = None
    elif state is not None and rng.random() < 0.9:
        path = chosen(rng, sorted(leaves))
        changed = chosen(rng, _wrong_leaves(leaves[path]))
        if isinstance(changed, list | dict | type(object())):
            return replace(update, client_state=changed if path == "" else other)
        other = changed if path == "" else tree.rebuild(state, leaves | {path: changed})
    return replace(update, client_state=other)


def _wrong_leaves(leaf: object) -> Sequence[object]:
    """Values that no client may return in place of a leaf."""
    match leaf:
        case Tensor():
            return (
                leaf.new_zeros((*leaf.shape, 2)),
                leaf.to(torch.complex64),
                leaf.to_sparse(),
                torch.zeros(()).expand(10**13),
                torch.full_like(leaf, torch.nan, dtype=torch.float32),
                None,
                3,
                "text",
            )
        case bool():
            return (None, 0, "text", torch.zeros(2))
        case int():
            return (None, True, 10**4400, -(2**70), float("nan"), "text", torch.zeros(2))
        case float():
            return (None, True, 10**4400, float("nan"), float("inf"), "text", torch.zeros(2))
        case _:
            return ("x" * 10**8, float("nan"), 10**4400)


def _other_numbers(rng: np.random.Generator, update: Update) -> Update:
    """A client state of the valid form with other numbers: extreme, but finite."""
    leaves = dict(tree.flatten(update.client_state))
    if not leaves:
        return update
    path = chosen(rng, sorted(leaves))
    leaf, other = leaves[path], leaves[path]
    match leaf:
        case Tensor() if leaf.dtype == torch.bool:
            other = torch.from_numpy(np.asarray(rng.random(tuple(leaf.shape)) < chosen(rng, (0.0, 0.5, 1.0))))
        case Tensor() if leaf.is_floating_point():
            other = torch.full_like(leaf, chosen(rng, (0.0, -1.0, 3e38, -3e38)))
        case bool():
            other = not leaf
        case int():
            other = chosen(rng, (0, -1, 2**62, -(2**63)))
        case float():
            other = chosen(rng, (0.0, -1.0, 1.7e308, -1.7e308))
    state = other if path == "" else tree.rebuild(update.client_state, leaves | {path: other})
    return replace(update, client_state=state)


KINDS: Mapping[str, Change] = {
    "no bytes": _with_buffer(lambda rng, data: b""),
    "random bytes": _with_buffer(lambda rng, data: rng.bytes(len(data) or 8)),
    "cut": _with_buffer(lambda rng, data: data[: int(rng.integers(len(data)))] if data else b"x"),
    "other wire format": _with_buffer(_in_other_format),
    "longer": _with_buffer(lambda rng, data: data + rng.bytes(1 + int(rng.integers(9)))),
    "scalar model": _with_payload(lambda rng: (Scalar(MODEL_ITEM, 1.0),)),
    "small model": _with_payload(lambda rng: (Dense(MODEL_ITEM, np.zeros(3, np.float32)),)),
    "further item": with_item(lambda rng, item: (item, Scalar("further", 1.0))),
    "other name": with_item(lambda rng, item: (_renamed(item, "other"),)),
    "other size": with_item(_resized),
    "not finite": with_item(_not_finite),
    "num_examples": _with_field("num_examples", _COUNTS),
    "train_flops": _with_field("train_flops", _FLOPS),
    "train_flops_dense": _with_field("train_flops_dense", _FLOPS),
    "unmasked_flops": _with_field("unmasked_flops", _FLOPS),
    "metrics": _with_field("metrics", _METRICS),
    "seconds": _with_field("seconds", _SECONDS),
    "round_idx": _with_field("round_idx", _IDS),
    "client_id": _with_field("client_id", _IDS),
    "position": _with_field("position", _IDS),
    "buffer": _with_field("buffer", (None, b"", "text", np.zeros(4), np.zeros((2, 2), np.uint8))),
    "client state": _other_state,
    "another answer": lambda rng, update: chosen(rng, (None, "text", _score(update))),
}

#: changes that keep the valid form; the server may admit them
PLAUSIBLE_KINDS: Mapping[str, Change] = {
    "other values": with_item(_other_values),
    "changed bytes": _mutated_buffer,
    "other numbers of the client state": _other_numbers,
    "FLOPs": _with_field("train_flops", (0, 2**60, 10**20, 1e23)),
    "metric values": _with_field("metrics", ({}, *({"loss": x} for x in (np.nan, np.inf, 1.7e308, -1.0)))),
}

SCORE_KINDS: Mapping[str, Change] = {
    "scores": _with_field("scores", _SCORES),
    "seconds of scores": _with_field("seconds", _SECONDS),
    "round_idx of scores": _with_field("round_idx", _IDS),
    "client_id of scores": _with_field("client_id", _IDS),
    "another answer with scores": lambda rng, score: chosen(rng, (None, "text")),
}
