"""The exception tree, with the exit code of a command that ends with each exception.

SparsefleetError                     1
├── RequestError (ValueError)        2   an invalid request of the user
│   ├── ConfigError                  2   an invalid config key or value
│   │   └── UnknownKeyError          2   a config key that does not exist
│   ├── DataError                    2   a missing, unreadable or unsuitable data set
│   ├── PartitionError               2   an impossible partition of the samples
│   ├── ModelError                   2   a model that cannot be built, measured or loaded
│   ├── AddressError                 1   an address at which no cluster answers
│   └── ResourceError                2   more resources than the machine or cluster has
├── WireError                        1   a buffer that is not a valid message
├── CheckpointError                  1   a missing, damaged or foreign checkpoint, or a failed write
├── TrackingError                    1   an unreachable tracking server
├── ClusterError                     1   a Ray cluster that does not answer, or rejects a request
├── ActorsLostError                  1   lost actors that Ray does not restart
└── RoundError                       1   a round with too few usable updates
"""

import re
from collections.abc import Sequence
from typing import ClassVar


class SparsefleetError(Exception):
    """Base class of all errors that Sparsefleet raises on purpose."""

    exit_code: ClassVar[int] = 1


class RequestError(SparsefleetError, ValueError):
    """An invalid request of the user, with the field, its value, the problem and the remedy."""

    exit_code: ClassVar[int] = 2

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        """`field` is a dotted config key or a command-line argument; `remedy` is an instruction to the user."""
        super().__init__(field, value, problem, remedy)
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy

    def __str__(self) -> str:
        return hide_passwords(" ".join(f"{self.field}={self.value}: {self.problem}; {self.remedy}".split()))


class ConfigError(RequestError):
    """A config key does not exist, or its value is invalid."""


class UnknownKeyError(ConfigError):
    """A config key does not exist."""


class DataError(RequestError):
    """A data set is missing, unreadable or unsuitable."""


class PartitionError(RequestError):
    """The samples cannot be partitioned over the clients as configured."""


class ModelError(RequestError):
    """A model cannot be built, measured or loaded."""


class AddressError(RequestError):
    """No cluster answers at an address that the user gave."""

    exit_code: ClassVar[int] = 1


class ResourceError(RequestError):
    """The machine or cluster has fewer resources than the run needs."""


class WireError(SparsefleetError):
    """A buffer is truncated, corrupt, from another version or not in canonical form."""


class CheckpointError(SparsefleetError):
    """A checkpoint is missing, damaged or from another experiment, or a file of a run cannot be written."""


class TrackingError(SparsefleetError):
    """The tracking server cannot be reached, or rejects a request."""


class ClusterError(SparsefleetError):
    """A Ray cluster does not answer, or rejects a request."""


class ActorsLostError(SparsefleetError):
    """Actors died with their process or node, and Ray does not restart them; `actors` has the names that are known."""

    def __init__(self, problem: str, *, actors: Sequence[str] = ()) -> None:
        super().__init__(problem)
        self.actors = tuple(actors)


class RoundError(SparsefleetError):
    """A round ended with too few usable updates, or with a server state that is not finite.

    - `round_idx`: the round.
    - `num_updates`: how many updates counted; None when the number is not the problem.
    - `client_id`, `stage`: the failed task's client and stage (see ClientFailure); None when no single task failed.
    """

    def __init__(
        self,
        problem: str,
        *,
        round_idx: int | None = None,
        num_updates: int | None = None,
        client_id: int | None = None,
        stage: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.round_idx, self.num_updates = round_idx, num_updates
        self.client_id, self.stage = client_id, stage


#: user name and password in an address; the second form finds an unquoted password with one of the characters / ? #
_CREDENTIALS = re.compile(r"""(?<=://)(?:[^/?\#\s"']*@|[^/?\#\s@:\["']*:(?!\d*(?:[/?\#\s"']|$))[^\s"']*@)""")


def hide_passwords(text: str) -> str:
    """Return text with `***@` in place of the user name and password of each address."""
    return _CREDENTIALS.sub("***@", text)


def has_password(text: str) -> bool:
    """Return whether an address in the text contains a password."""
    return any(":" in found.group() for found in _CREDENTIALS.finditer(text))


def one_line(error: Exception | str) -> str:
    """Return a message on one line, without the colour codes that libraries write for terminals."""
    return " ".join(without_colours(str(error)).split())


def without_colours(text: str) -> str:
    """Return text without the colour codes of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
