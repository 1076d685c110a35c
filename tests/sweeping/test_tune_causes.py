"""Why a trial failed, from what Tune writes down."""

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from orchestrator.errors import ActorsLostError, RoundError
from orchestrator.sweeping.tune_causes import cause_of, is_loss


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

    @pytest.mark.parametrize("noted", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_without_an_error_it_says_so(self, noted: str) -> None:
        assert cause_of(noted) == "Tune gives no cause"

    def test_it_is_one_line_of_bounded_length(self) -> None:
        assert len(cause_of("Failure # 1\n" + "long words\n" * 1000)) <= 500


class TestLoss:
    """Whether the trial did anything wrong."""

    def test_an_actor_that_died_is_lost(self) -> None:
        assert is_loss(f"Failure # 1 (occurred at 2026)\n{ActorDiedError()}\n")

    @pytest.mark.parametrize(("error", "lost"), [(ActorsLostError("gone"), True), (RoundError("few"), False)])
    def test_an_error_of_the_trial_s_is_one_if_it_says_so(self, error: Exception, lost: bool) -> None:
        name = f"orchestrator.errors.{type(error).__name__}"
        wrapped = RayTaskError("step", f"Traceback\n{name}: {error}", error).as_instanceof_cause()
        assert is_loss(f"Failure # 1 (occurred at 2026)\n{wrapped}\n") == lost

    @pytest.mark.parametrize("noted", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_where_nothing_is_known_nothing_is_repeated(self, noted: str) -> None:
        assert not is_loss(noted)
