"""When a phase ends, worked out by hand for three clients."""

from typing import Any

import pytest

from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.rounds.cutoff import Cutoff


def event(client_id: int, seconds: float, **changes: Any) -> ClientEvent:
    """A training task that takes so long, all of it in computing."""
    content: dict[str, Any] = {
        "round_idx": 0,
        "kind": "train",
        "position": client_id,
        "client_id": client_id,
        "profile": "default",
        "download_bytes": 20,
        "upload_bytes": 8,
        "train_flops": 250.0,
        "train_flops_dense": 400.0,
        "download_s": 0.0,
        "compute_s": seconds,
        "upload_s": 0.0,
        "num_examples": 10,
        "train_loss": 0.5,
        "start_s": 1000.0,
    }
    return ClientEvent(**(content | changes))


def three(*vanished: int, seconds: tuple[float, ...] = (4.0, 1.0, 2.0)) -> list[ClientEvent]:
    """Three clients, of whom some vanish instead of answering."""
    return [event(k, s, outcome="vanished" if k in vanished else "used") for k, s in enumerate(seconds)]


def ended(cutoff: Cutoff, events: list[ClientEvent]) -> tuple[float, list[EventOutcome]]:
    return cutoff.ends_s(events), cutoff.outcomes(events)


class TestSynchronous:
    """Everybody is waited for."""

    def test_the_slowest_ends_it(self) -> None:
        assert ended(Cutoff(), three()) == (4.0, ["used", "used", "used"])

    def test_a_device_that_vanishes_is_noticed_when_it_does(self) -> None:
        assert ended(Cutoff(), three(0)) == (4.0, ["vanished", "used", "used"])
        assert ended(Cutoff(), three(1)) == (4.0, ["used", "vanished", "used"])

    def test_a_client_drawn_twice_does_one_task_after_the_other(self) -> None:
        events = [event(0, 1.0), event(1, 3.0), event(0, 1.0), event(0, 1.5)]
        assert ended(Cutoff(), events) == (3.5, ["used"] * 4)

    def test_nobody(self) -> None:
        assert ended(Cutoff(), []) == (0.0, [])


class TestDeadline:
    """Nobody is waited for beyond a moment."""

    def test_it_ends_the_phase_where_somebody_is_late(self) -> None:
        assert ended(Cutoff(deadline_s=3.0), three()) == (3.0, ["late", "used", "used"])
        assert ended(Cutoff(deadline_s=0.5), three()) == (0.5, ["late", "late", "late"])

    def test_where_all_answer_they_end_it(self) -> None:
        assert ended(Cutoff(deadline_s=9.0), three()) == (4.0, ["used", "used", "used"])

    def test_in_time_is_in_time(self) -> None:
        assert ended(Cutoff(deadline_s=4.0), three()) == (4.0, ["used", "used", "used"])
        assert ended(Cutoff(deadline_s=2.0), three()) == (2.0, ["late", "used", "used"])

    def test_who_vanished_may_still_come_until_then(self) -> None:
        assert ended(Cutoff(deadline_s=9.0), three(1)) == (9.0, ["used", "vanished", "used"])
        assert ended(Cutoff(deadline_s=3.0), three(0)) == (3.0, ["vanished", "used", "used"])

    def test_each_update_s_own_time_decides_about_it(self) -> None:
        """So that updates can be folded as they come."""
        cutoff, events = Cutoff(deadline_s=3.0), three(2)
        assert (
            [cutoff.outcomes([e])[0] for e in events]
            == cutoff.outcomes(events)
            == ["late", "used", "vanished"]
        )


class TestOverSelection:
    """Two of three are needed."""

    def test_the_second_answer_ends_it(self) -> None:
        assert ended(Cutoff(needed=2), three()) == (2.0, ["surplus", "used", "used"])

    def test_of_several_at_the_same_moment_those_planned_first_are_needed(self) -> None:
        assert ended(Cutoff(needed=2), three(seconds=(2.0, 1.0, 2.0))) == (2.0, ["used", "used", "surplus"])
        assert ended(Cutoff(needed=1), three(seconds=(2.0, 2.0, 2.0))) == (
            2.0,
            ["used", "surplus", "surplus"],
        )

    def test_who_vanished_has_not_answered(self) -> None:
        assert ended(Cutoff(needed=2), three(1)) == (4.0, ["used", "vanished", "used"])
        assert ended(Cutoff(needed=2), three(0)) == (2.0, ["vanished", "used", "used"])

    @pytest.mark.parametrize(("vanished", "ends_s"), [((0, 1), 4.0), ((1, 2), 4.0), ((0, 1, 2), 4.0)])
    def test_too_few_answers_leave_the_last_sign_of_life(
        self, vanished: tuple[int, ...], ends_s: float
    ) -> None:
        fates = ["vanished" if k in vanished else "used" for k in range(3)]
        assert ended(Cutoff(needed=2), three(*vanished)) == (ends_s, fates)

    def test_fewer_were_there_than_are_needed(self) -> None:
        assert ended(Cutoff(needed=5), three()) == (4.0, ["used", "used", "used"])


class TestBoth:
    """Two of three within a deadline."""

    def test_enough_answers_end_it_before(self) -> None:
        """Nobody is late where nobody was waited for in the end."""
        assert ended(Cutoff(needed=1, deadline_s=3.0), three()) == (1.0, ["surplus", "used", "surplus"])
        assert ended(Cutoff(needed=2, deadline_s=9.0), three()) == (2.0, ["surplus", "used", "used"])

    def test_the_deadline_ends_it_where_they_do_not_come(self) -> None:
        assert ended(Cutoff(needed=3, deadline_s=3.0), three()) == (3.0, ["late", "used", "used"])
        assert ended(Cutoff(needed=2, deadline_s=3.0), three(1)) == (3.0, ["late", "vanished", "used"])
        assert ended(Cutoff(needed=2, deadline_s=5.0), three(1)) == (4.0, ["used", "vanished", "used"])
