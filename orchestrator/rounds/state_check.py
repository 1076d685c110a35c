"""Checks a new server state before the round that produced it may be committed."""

import torch
from torch import Tensor

from orchestrator.errors import RoundError
from orchestrator.federation import tree
from orchestrator.federation.algorithm import ServerState


def require_finite_state(state: ServerState, round_idx: int) -> None:
    """Raise RoundError, naming the tensor, for a server state that contains NaN or infinity.

    Updates are finite when they are admitted. A method's own server step, or a mean beyond the range of float32, can
    still give a state that is not. A checkpoint of such a state could not be continued.
    """
    for path, leaf in tree.flatten(state):
        if isinstance(leaf, Tensor) and not bool(torch.isfinite(leaf).all()):
            raise RoundError(
                f"round {round_idx}: {path} of the server's state is not finite after the server step; lower the "
                "learning rates of clients and server",
                round_idx=round_idx,
            )
