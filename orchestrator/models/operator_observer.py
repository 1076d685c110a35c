"""Observes a running model: calls a method with the arguments and result of every torch operator."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorObserver(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context manager that calls `observe` after each operator. It does not change the operator's result."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # with True, torch would import its compiler on first use, which takes seconds
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        output = func(*args, **(kwargs or {}))
        self.observe(func, args, kwargs or {}, output)
        return output

    @abstractmethod
    def observe(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """Use the arguments and the result of one operator."""
