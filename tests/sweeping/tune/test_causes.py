"""Why a trial failed, from what Tune writes down."""

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from orchestrator.errors import RoundError
from orchestrator.sweeping.tune.causes import cause_of, is_loss

#: what Ray says of a killed actor, shortened at the end
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: TuneTrial
\tactor_id: e9c2855cf3029d76d5c9edac01000000
\tpid: 20155
\tnamespace: sparsefleet
\tip: 192.0.2.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file."""


class TestCause:
    """On one line."""

    @pytest.mark.parametrize(
        ("lines", "cause"),
        [
            (["orchestrator.errors.RoundError: round 3 has too few"], "RoundError: round 3 has too few"),
            (["RoundError: \x1b[31mtoo\x1b[39m  few", "more of it"], "RoundError: too few"),
            (["ValueError: first", "orchestrator.errors.DataError: last"], "DataError: last"),
            (["KeyError: 'x'", "  File a.py, line 3: nonsense"], "KeyError: 'x'"),
            (
                ["The actor died unexpectedly", "before finishing"],
                "The actor died unexpectedly before finishing",
            ),
        ],
    )
    def test_it_is_the_error_that_was_raised_last(self, lines: list[str], cause: str) -> None:
        noted = ["Failure # 1 (occurred at 2026-01-01_00-00-00)", "Traceback (most recent call last):"]
        if "died" not in lines[0]:
            noted.append('  File "trial.py", line 3, in step')
        else:
            noted.pop()
        assert cause_of("\n".join([*noted, *lines, ""])) == cause

    @pytest.mark.parametrize("kind", ["AssertionError", "StopIteration", "KeyboardInterrupt"])
    def test_an_error_without_a_message_is_named_too(self, kind: str) -> None:
        noted = (
            f"Failure # 1\nTraceback (most recent call last):\n  File x, line 3, in step\n    f()\n{kind}\n"
        )
        assert cause_of(noted) == kind

    def test_ray_s_own_text_of_an_error_is_understood(self) -> None:
        inner = RoundError("too few updates")
        wrapped = RayTaskError("step", "Traceback\norchestrator.errors.RoundError: too few updates", inner)
        noted = f"Failure # 1 (occurred at 2026)\n{wrapped.as_instanceof_cause()}\n"
        assert cause_of(noted) == "RoundError: too few updates"

    def test_of_a_dead_actor_the_reason_is_enough(self) -> None:
        noted = f"Failure # 1 (occurred at 2026)\n{DIED}\n"
        assert cause_of(noted) == "The actor is dead because its worker process has died."

    @pytest.mark.parametrize("noted", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_without_an_error_it_says_so(self, noted: str) -> None:
        assert cause_of(noted) == "Tune gives no cause"

    def test_it_is_one_line_of_bounded_length(self) -> None:
        assert len(cause_of("Failure # 1\n" + "long words\n" * 1000)) <= 500


class TestLoss:
    """Whether the trial did anything wrong."""

    @pytest.mark.parametrize("error", [ActorDiedError(), DIED], ids=["bare", "as Ray tells it"])
    def test_an_actor_that_died_is_lost(self, error: object) -> None:
        assert is_loss(f"Failure # 1 (occurred at 2026)\n{error}\n")

    @pytest.mark.parametrize(
        ("raised", "lost"),
        [
            ("orchestrator.errors.ActorsLostError: gone", True),
            ("ray.exceptions.ActorDiedError: The actor died", True),
            ("ray.exceptions.OwnerDiedError: Failed to retrieve object", True),
            ("orchestrator.errors.RoundError: few", False),
            ("ray.exceptions.OutOfMemoryError: the node runs low on memory", True),
            ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3 GiB", False),
            ("struct.error: unpack requires a buffer of 4 bytes", False),
            ("my_plugin.diverged: at round 3", False),
            ("RuntimeError", False),
            ("RuntimeError:", False),
            ("  nothing that looks like an error", False),
        ],
    )
    def test_an_error_of_the_trial_s_is_one_if_it_says_so(self, raised: str, lost: bool) -> None:
        traceback = f'ray::TuneTrial.train() (pid=1)\n  File "trial.py", line 3, in step\n    f()\n{raised}'
        wrapped = RayTaskError("step", traceback, ValueError()).as_instanceof_cause()
        assert is_loss(f"Failure # 1 (occurred at 2026)\n{wrapped}\n") == lost

    @pytest.mark.parametrize("noted", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_where_nothing_is_known_nothing_is_repeated(self, noted: str) -> None:
        assert not is_loss(noted)
