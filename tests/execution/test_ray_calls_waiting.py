"""`wait_with_checks` on a fake Ray with a clock of its own."""

import pytest

from orchestrator.execution import ray_calls
from orchestrator.execution.ray_calls import wait_with_checks
from tests.support.fake_ray import FakeRay, Ref


@pytest.mark.parametrize(
    ("ends_s", "num_checks", "num_notes"),
    [(3.0, 0, 0), (12.0, 2, 0), (61.0, 12, 1), (299.0, 59, 1)],
)
def test_slow_call_is_reported_once_and_checked_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch, ends_s: float, num_checks: int, num_notes: int
) -> None:
    """A call that ends after 12 s is waited for twice in vain, until 5 s and until 10 s."""
    fake, ref = FakeRay(), Ref()
    monkeypatch.setattr(ray_calls, "ray", fake)
    fake.at(ends_s, lambda: fake.results.update({ref: None}))
    checks, notes = list[float](), list[float]()
    wait_with_checks(
        ref,
        lambda: checks.append(fake.now_s),
        every_s=5.0,
        slow_s=60.0,
        slow=lambda: notes.append(fake.now_s),
    )
    assert fake.now_s == ends_s
    assert (len(checks), notes) == (num_checks, [60.0] * num_notes)


def test_error_of_a_check_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        raise ConnectionError("the head is lost")

    monkeypatch.setattr(ray_calls, "ray", FakeRay())
    with pytest.raises(ConnectionError):
        wait_with_checks(Ref(), check, every_s=5.0, slow_s=60.0, slow=lambda: None)
