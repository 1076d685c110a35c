"""The exception tree, and the exit code each branch ends a command with.

SparsefleetError                     1
├── RequestError (ValueError)        2   what the user asked for cannot be done as asked
│   ├── ConfigError                  2   a config key or value
│   ├── DataError                    2   a data set that is missing or unreadable
│   ├── PartitionError               2   a split that cannot be made
│   ├── ModelError                   2   a model that cannot be built, counted or loaded
│   └── ResourceError                2   a footprint the machine or cluster cannot hold
├── WireError                        1   a buffer that is not a valid message
├── CheckpointError                  1   a commit that is missing, torn or of another experiment
├── TrackingError                    1   the tracking server cannot be reached
├── ClusterError                     1   a Ray cluster that does not answer, or refuses
├── ActorsLostError                  1   client actors, or the driver's, that are gone and do not come back
└── RoundError                       1   a round with too few usable updates
"""

import re
from typing import ClassVar


class SparsefleetError(Exception):
    """Base of every error that Sparsefleet raises on purpose."""

    exit_code: ClassVar[int] = 1


class RequestError(SparsefleetError, ValueError):
    """The user's mistake: names the field, the value got, the problem and the remedy."""

    exit_code: ClassVar[int] = 2

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        """`field` is a dotted config key or an argument; `remedy` says what to do, in the imperative."""
        super().__init__(field, value, problem, remedy)
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy

    def __str__(self) -> str:
        return " ".join(f"{self.field}={self.value}: {self.problem}; {self.remedy}".split())


class ConfigError(RequestError):
    """A config key that does not exist or a value it cannot take."""


class DataError(RequestError):
    """A data set that is missing, unreadable or of the wrong form."""


class PartitionError(RequestError):
    """A split over clients that cannot be made."""


class ModelError(RequestError):
    """A model that cannot be built, laid out, counted or loaded."""


class ResourceError(RequestError):
    """A footprint that the machine or cluster cannot hold."""


class WireError(SparsefleetError):
    """A buffer that is truncated, corrupt, of another version or not exact."""


class CheckpointError(SparsefleetError):
    """A commit that is missing, torn, or belongs to another experiment."""


class TrackingError(SparsefleetError):
    """The tracking server cannot be reached or refuses what is sent."""


class ClusterError(SparsefleetError):
    """A cluster that does not answer any more, or refuses what it is asked."""


class ActorsLostError(SparsefleetError):
    """Actors that died with their process or node and that Ray does not bring back."""


class RoundError(SparsefleetError):
    """A round that ended with fewer usable updates than the failure policy accepts."""


def one_line(error: Exception | str) -> str:
    """A message on one line, without the colours that libraries write for terminals."""
    return " ".join(without_colours(str(error)).split())


def without_colours(text: str) -> str:
    """A text without what makes a terminal colour it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
