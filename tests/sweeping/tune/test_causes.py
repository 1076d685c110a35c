"""The cause of a trial's failure, read from Tune's error file."""

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from orchestrator.errors import RoundError
from orchestrator.sweeping.tune.causes import cause_of, is_actor_loss

#: Ray's message for a killed actor, shortened at the end
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: TuneTrial
\tactor_id: e9c2855cf3029d76d5c9edac01000000
\tpid: 20155
\tnamespace: sparsefleet
\tip: 192.0.2.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file."""


class TestCause:
    """`cause_of`."""

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
    def test_cause_is_the_last_error(self, lines: list[str], cause: str) -> None:
        error_text = ["Failure # 1 (occurred at 2026-01-01_00-00-00)", "Traceback (most recent call last):"]
        if "died" not in lines[0]:
            error_text.append('  File "trial.py", line 3, in step')
        else:
            error_text.pop()
        assert cause_of("\n".join([*error_text, *lines, ""])) == cause

    @pytest.mark.parametrize("kind", ["AssertionError", "StopIteration", "KeyboardInterrupt"])
    def test_cause_of_an_error_without_message_is_its_class(self, kind: str) -> None:
        error_text = (
            f"Failure # 1\nTraceback (most recent call last):\n  File x, line 3, in step\n    f()\n{kind}\n"
        )
        assert cause_of(error_text) == kind

    def test_cause_is_read_from_ray_s_error_text(self) -> None:
        inner = RoundError("too few updates")
        wrapped = RayTaskError("step", "Traceback\norchestrator.errors.RoundError: too few updates", inner)
        error_text = f"Failure # 1 (occurred at 2026)\n{wrapped.as_instanceof_cause()}\n"
        assert cause_of(error_text) == "RoundError: too few updates"

    def test_cause_of_a_dead_actor_is_ray_s_reason(self) -> None:
        error_text = f"Failure # 1 (occurred at 2026)\n{DIED}\n"
        assert cause_of(error_text) == DIED.splitlines()[-1].partition(" Worker")[0]

    @pytest.mark.parametrize("error_text", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_empty_error_text_has_no_cause(self, error_text: str) -> None:
        assert cause_of(error_text) == "Tune gives no cause"

    def test_cause_has_at_most_500_characters(self) -> None:
        assert len(cause_of("Failure # 1\n" + "long words\n" * 1000)) <= 500


class TestLoss:
    """`is_actor_loss`."""

    @pytest.mark.parametrize("error", [ActorDiedError(), DIED], ids=["bare", "full message"])
    def test_dead_actor_is_a_loss(self, error: object) -> None:
        assert is_actor_loss(f"Failure # 1 (occurred at 2026)\n{error}\n")

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
    def test_only_errors_of_lost_actors_are_losses(self, raised: str, lost: bool) -> None:
        traceback = f'ray::TuneTrial.train() (pid=1)\n  File "trial.py", line 3, in step\n    f()\n{raised}'
        wrapped = RayTaskError("step", traceback, ValueError()).as_instanceof_cause()
        assert is_actor_loss(f"Failure # 1 (occurred at 2026)\n{wrapped}\n") == lost

    @pytest.mark.parametrize("error_text", ["", "Failure # 1 (occurred at 2026)\n"])
    def test_empty_error_text_is_not_a_loss(self, error_text: str) -> None:
        assert not is_actor_loss(error_text)
