"""Looking on while a model runs: every operator of torch, with what went in and what came out."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As a context, `seen` is called after each operator, whose result it leaves as it is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch wraps a mode that says True, which loads its compiler on first use: seconds for nothing
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        output = func(*args, **(kwargs or {}))
        self.seen(func, args, kwargs or {}, output)
        return output

    @abstractmethod
    def seen(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """What to do with one operator's arguments and result."""
