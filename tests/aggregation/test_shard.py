"""Slices of encoded updates add up to the bits of the whole average, for every method and every average."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from orchestrator.aggregation.payload_check import decode_update
from orchestrator.aggregation.phase_aggregator import phase_aggregator
from orchestrator.aggregation.shard import EncodedUpdate, FoldKey, Shard
from orchestrator.aggregation.slices import SliceNumber, join_averages
from orchestrator.aggregation.sums import LocalSums, Term
from orchestrator.contract.rounds import RecordedRound, phases, play
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, AggregationName
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.update import PayloadReport, RejectedPayload
from orchestrator.sparsity.payload import Dense, Masked, Payload, Scalar
from orchestrator.sparsity.wire import encode
from orchestrator.sparsity.wire_frame import ValueDtype, WireVersion
from tests.support.fakes import experiment
from tests.support.method_variants import VARIANTS
from tests.support.shards import averaging, encoded_updates, random_payload

KEY = FoldKey(0, 0, 0)
#: variants with running statistics or without a share of the model, in addition to all methods
FURTHER = ("heterofl, running statistics", "fedrep, running statistics", "fedspa, sampled twice")
NAMES = [name for name in VARIANTS if "," not in name] + list(FURTHER)


def sharded(
    made: Experiment, updates: Sequence[EncodedUpdate], count: int, present: torch.Tensor | None = None
) -> Aggregate:
    """The average of the updates by `count` shards. Update k is as stale as k and has the weight k + 1/3."""
    shards = [Shard(made, SliceNumber(number, count)) for number in range(count)]
    server = made.initial
    for place, encoded in enumerate(updates):
        report = shards[place % count].check(encoded)
        assert isinstance(report, PayloadReport), report
        assert report.upload_bytes == encoded.payload.nbytes
        for shard in shards:
            shard.add(KEY, place, encoded, _term(place), None if present is None else present.numpy())
    own = [SliceNumber(number, count) for number in range(count)]

    def finish(number: int) -> object:
        return shards[number].finish(KEY, len(updates), server[slice(*own[number].bounds(server.size))])

    return join_averages([lambda n=n: finish(n) for n in range(count)], server.size)  # type: ignore[misc]


def whole(
    made: Experiment,
    updates: Sequence[EncodedUpdate],
    recorded: RecordedRound,
    present: torch.Tensor | None = None,
) -> Aggregate:
    """The average by the driver."""
    sums = LocalSums(phase_aggregator(made), made.config.asynchrony)
    for place, (encoded, received) in enumerate(zip(updates, recorded.received, strict=True)):
        content = decode_update(made, encoded.request, encoded.payload, received)
        sums.add(content, _term(place), present)
    return sums.finish(torch.from_numpy(made.initial.copy()))


def _term(place: int) -> Term:
    return Term(client_id=place, weight=place + 1 / 3, staleness=place)


def assert_same_bits(one: Aggregate, other: Aggregate) -> None:
    assert one.values.numpy().tobytes() == other.values.numpy().tobytes()
    assert (one.coverage is None) == (other.coverage is None)
    if one.coverage is not None and other.coverage is not None:
        assert one.coverage.numpy().tobytes() == other.coverage.numpy().tobytes()
    assert one.extras.keys() == other.extras.keys()
    for name, extra in one.extras.items():
        assert extra.shape == other.extras[name].shape
        assert extra.numpy().tobytes() == other.extras[name].numpy().tobytes(), name
    assert (one.total_weight, one.num_updates) == (other.total_weight, other.num_updates)
    assert one.scalars == other.scalars


@pytest.mark.parametrize("name", NAMES)
def test_every_method_has_the_same_average_with_any_number_of_shards(name: str) -> None:
    method, options = VARIANTS[name]
    made = experiment({"algorithm.name": method, "data.test_fraction": 0.7, **options})
    if type(made.algorithm.aggregator()) not in AGGREGATORS.values():
        pytest.skip("the driver adds the updates of a method with an aggregator of its own")
    for recorded in phases(play(made, 1)):
        updates = encoded_updates(recorded)
        expected = whole(made, updates, recorded)
        for count in (1, 3):
            assert_same_bits(sharded(made, updates, count), expected)


@cache
def _played(
    version: WireVersion, value_dtype: ValueDtype, rule: str = "mean"
) -> tuple[Experiment, RecordedRound]:
    """A round whose broadcast has a mask of sparsity 0.8."""
    wire = {"wire.version": version, "wire.value_dtype": value_dtype}
    made = experiment(
        {"algorithm.name": "randommask", "sparsity.level": 0.8, "aggregation.rule": rule, **wire}
    )
    return made, phases(play(made, 1))[-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("version", "value_dtype"),
    [(1, "float32"), (1, "bfloat16"), (2, "float32"), (2, "bfloat16"), (2, "int8")],
)
@pytest.mark.parametrize("average", sorted(AGGREGATORS))
def test_random_payloads_have_the_same_average_with_any_number_of_shards(
    average: AggregationName, version: WireVersion, value_dtype: ValueDtype, seed: int
) -> None:
    """Dense models, masks of every density and coding, and dense, masked, binary and scalar items."""
    made, recorded = _played(version, value_dtype)
    made = averaging(made, average)
    rng = np.random.default_rng(seed)
    updates = [
        replace(encoded, payload=random_payload(made, received, rng, place, value_dtype, version))
        for place, (encoded, received) in enumerate(
            zip(encoded_updates(recorded), recorded.received, strict=True)
        )
    ]
    expected = whole(made, updates, recorded)
    for count in (1, 2, 5):
        assert_same_bits(sharded(made, updates, count), expected)


@pytest.mark.parametrize("rule", ["median", "trimmed_mean"])
@pytest.mark.parametrize("average", sorted(AGGREGATORS))
def test_robust_rules_have_the_same_result_with_any_number_of_shards(
    average: AggregationName, rule: str
) -> None:
    """The random payloads of the test above, of which some have masks and some have no item "rare votes"."""
    made, recorded = _played(2, "float32", rule)
    made = averaging(made, average)
    rng = np.random.default_rng(7)
    updates = [
        replace(encoded, payload=random_payload(made, received, rng, place, "float32", 2))
        for place, (encoded, received) in enumerate(
            zip(encoded_updates(recorded), recorded.received, strict=True)
        )
    ]
    expected = whole(made, updates, recorded)
    assert len(expected.extras) > 1
    for count in (1, 2, 5):
        assert_same_bits(sharded(made, updates, count), expected)


@pytest.mark.parametrize("kind", ["fedbuff", "fedasync"])
@pytest.mark.parametrize("method", ["fedavg", "feddst", "fedspa", "heterofl"])
def test_stale_updates_have_the_same_average_with_any_number_of_shards(method: str, kind: str) -> None:
    made = experiment({"algorithm.name": method, "asynchrony.kind": kind})
    recorded = play(made, 1)[-1]
    updates = encoded_updates(recorded)
    present = torch.from_numpy(made.initial * 0.75 + 0.01)
    expected = whole(made, updates, recorded, present)
    assert_same_bits(sharded(made, updates, 3, present), expected)


@pytest.fixture(scope="module")
def dense() -> tuple[Experiment, list[EncodedUpdate]]:
    made = experiment({"algorithm.name": "fedavg"})
    return made, encoded_updates(play(made, 1)[-1])


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ((), "missing"),
        ((Scalar(MODEL_ITEM, 1.0),), "kind Scalar"),
        ((Dense(MODEL_ITEM, np.zeros(3, np.float32)),), "3 values"),
        ((Masked(MODEL_ITEM, np.zeros(2, np.float32), np.ones(2, np.bool_)),), "mask bits"),
    ],
)
def test_payload_of_another_form_is_rejected_with_its_cause(
    dense: tuple[Experiment, list[EncodedUpdate]], payload: Payload, named: str
) -> None:
    made, (encoded, *_) = dense
    hostile = replace(encoded, payload=np.frombuffer(encode(payload), np.uint8))
    report = Shard(made, SliceNumber(1, 2)).check(hostile)
    assert isinstance(report, RejectedPayload)
    assert (report.stage, report.traceback) == ("admission", "")
    assert named in report.cause


@pytest.mark.parametrize("place", [0, -1])
def test_value_that_is_not_finite_is_rejected_in_every_slice(
    dense: tuple[Experiment, list[EncodedUpdate]], place: int
) -> None:
    made, (encoded, *_) = dense
    values = np.zeros(made.setting.layout.size, np.float32)
    values[place] = np.inf
    hostile = replace(encoded, payload=np.frombuffer(encode((Dense(MODEL_ITEM, values),)), np.uint8))
    report = Shard(made, SliceNumber(0, 2)).check(hostile)
    assert isinstance(report, RejectedPayload)
    assert "not finite (1 of" in report.cause


@pytest.mark.parametrize("payload", [b"no bytes of an array", np.zeros((2, 2), np.uint8), None])
def test_payload_that_is_no_array_of_bytes_is_rejected(
    dense: tuple[Experiment, list[EncodedUpdate]], payload: object
) -> None:
    made, (encoded, *_) = dense
    report = Shard(made, SliceNumber(0, 1)).check(replace(encoded, payload=payload))  # type: ignore[arg-type]
    assert isinstance(report, RejectedPayload)
    assert "uint8[n]" in report.cause


def test_shard_that_has_lost_an_update_gives_no_average(
    dense: tuple[Experiment, list[EncodedUpdate]],
) -> None:
    """A restarted shard gets the updates after its restart, and later all of them again under a new key."""
    made, updates = dense
    server, restarted = made.initial, Shard(made, SliceNumber(0, 1))
    for place in (1, 2):
        restarted.add(KEY, place, updates[place], _term(place), None)
    assert restarted.finish(KEY, 3, server) is None
    again = replace(KEY, attempt=1)
    for place in range(3):
        restarted.add(again, place, updates[place], _term(place), None)
    average = restarted.finish(again, 3, server)
    assert average is not None
    assert average.num_updates == 3
    assert average.values.tobytes() == sharded(made, updates, 1).values.numpy().tobytes()


def test_updates_without_weight_have_no_average(dense: tuple[Experiment, list[EncodedUpdate]]) -> None:
    made, (encoded, *_) = dense
    shard = Shard(made, SliceNumber(0, 1))
    shard.add(KEY, 0, encoded, Term(client_id=0, weight=0.0, staleness=0), None)
    with pytest.raises(ValueError, match="positive weight"):
        shard.finish(KEY, 1, made.initial)
