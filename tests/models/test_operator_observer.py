"""The observer of operators sees every operator with its arguments and its result."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch._ops import OpOverload

from orchestrator.models.operator_observer import OperatorObserver


class _Recorder(OperatorObserver):
    """Stores the name and the result of each operator."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[float]]] = []

    def observe(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        assert isinstance(output, Tensor)
        self.seen.append((str(func.overloadpacket.__name__), output.tolist()))


def test_operators_are_observed_in_order_with_their_results() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    with _Recorder() as recorder:
        result = a + b * 2.0
    assert recorder.seen == [("mul", [6.0, 8.0]), ("add", [7.0, 10.0])]
    assert result.tolist() == [7.0, 10.0]


def test_operators_outside_the_block_are_not_observed() -> None:
    recorder = _Recorder()
    with recorder:
        pass
    torch.ones(2).mul(2.0)
    assert recorder.seen == []
