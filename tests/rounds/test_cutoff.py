"""The end of a phase, calculated by hand for three clients."""

from typing import Any

import pytest

from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.rounds.cutoff import Cutoff


def event(client_id: int, seconds: float, **changes: Any) -> ClientEvent:
    """A training task of this duration, all of it compute time."""
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
        "unmasked_flops": 400.0,
        "download_s": 0.0,
        "compute_s": seconds,
        "compute_ideal_s": seconds,
        "upload_s": 0.0,
        "num_examples": 10,
        "train_loss": 0.5,
        "start_s": 1000.0,
    }
    return ClientEvent(**(content | changes))


def three(*vanished: int, seconds: tuple[float, ...] = (4.0, 1.0, 2.0)) -> list[ClientEvent]:
    """Three clients; some drop out instead of answering."""
    return [event(k, s, outcome="vanished" if k in vanished else "used") for k, s in enumerate(seconds)]


def ended(cutoff: Cutoff, events: list[ClientEvent]) -> tuple[float, list[EventOutcome]]:
    return cutoff.ends_s(events), cutoff.outcomes(events)


class TestSynchronous:
    """The phase waits for every client."""

    def test_slowest_client_ends_the_phase(self) -> None:
        assert ended(Cutoff(), three()) == (4.0, ["used", "used", "used"])

    def test_dropout_counts_at_its_own_time(self) -> None:
        assert ended(Cutoff(), three(0)) == (4.0, ["vanished", "used", "used"])
        assert ended(Cutoff(), three(1)) == (4.0, ["used", "vanished", "used"])

    def test_tasks_of_one_client_run_one_after_the_other(self) -> None:
        events = [event(0, 1.0), event(1, 3.0), event(0, 1.0), event(0, 1.5)]
        assert ended(Cutoff(), events) == (3.5, ["used"] * 4)

    def test_phase_without_clients_takes_no_time(self) -> None:
        assert ended(Cutoff(), []) == (0.0, [])


class TestDeadline:
    """The phase ends at the deadline."""

    def test_deadline_ends_the_phase_if_a_client_is_late(self) -> None:
        assert ended(Cutoff(deadline_s=3.0), three()) == (3.0, ["late", "used", "used"])
        assert ended(Cutoff(deadline_s=0.5), three()) == (0.5, ["late", "late", "late"])

    def test_last_answer_ends_the_phase_before_the_deadline(self) -> None:
        assert ended(Cutoff(deadline_s=9.0), three()) == (4.0, ["used", "used", "used"])

    def test_answer_at_the_deadline_is_in_time(self) -> None:
        assert ended(Cutoff(deadline_s=4.0), three()) == (4.0, ["used", "used", "used"])
        assert ended(Cutoff(deadline_s=2.0), three()) == (2.0, ["late", "used", "used"])

    def test_dropout_is_waited_for_until_the_deadline(self) -> None:
        assert ended(Cutoff(deadline_s=9.0), three(1)) == (9.0, ["used", "vanished", "used"])
        assert ended(Cutoff(deadline_s=3.0), three(0)) == (3.0, ["vanished", "used", "used"])

    def test_outcome_depends_only_on_the_update_itself(self) -> None:
        """The driver can therefore fold updates in the order of their arrival."""
        cutoff, events = Cutoff(deadline_s=3.0), three(2)
        assert (
            [cutoff.outcomes([e])[0] for e in events]
            == cutoff.outcomes(events)
            == ["late", "used", "vanished"]
        )


class TestOverSelection:
    """Two of three are needed."""

    def test_second_answer_ends_the_phase(self) -> None:
        assert ended(Cutoff(needed=2), three()) == (2.0, ["surplus", "used", "used"])

    def test_ties_go_to_the_clients_planned_first(self) -> None:
        assert ended(Cutoff(needed=2), three(seconds=(2.0, 1.0, 2.0))) == (2.0, ["used", "used", "surplus"])
        assert ended(Cutoff(needed=1), three(seconds=(2.0, 2.0, 2.0))) == (
            2.0,
            ["used", "surplus", "surplus"],
        )

    def test_dropout_is_no_answer(self) -> None:
        assert ended(Cutoff(needed=2), three(1)) == (4.0, ["used", "vanished", "used"])
        assert ended(Cutoff(needed=2), three(0)) == (2.0, ["vanished", "used", "used"])

    @pytest.mark.parametrize(("vanished", "ends_s"), [((0, 1), 4.0), ((1, 2), 4.0), ((0, 1, 2), 4.0)])
    def test_too_few_answers_end_with_the_last_event(self, vanished: tuple[int, ...], ends_s: float) -> None:
        fates = ["vanished" if k in vanished else "used" for k in range(3)]
        assert ended(Cutoff(needed=2), three(*vanished)) == (ends_s, fates)

    def test_fewer_clients_than_needed(self) -> None:
        assert ended(Cutoff(needed=5), three()) == (4.0, ["used", "used", "used"])


class TestBoth:
    """Two of three within a deadline."""

    def test_enough_answers_end_the_phase_before_the_deadline(self) -> None:
        """Then other updates are surplus and not late."""
        assert ended(Cutoff(needed=1, deadline_s=3.0), three()) == (1.0, ["surplus", "used", "surplus"])
        assert ended(Cutoff(needed=2, deadline_s=9.0), three()) == (2.0, ["surplus", "used", "used"])

    def test_deadline_ends_the_phase_without_enough_answers(self) -> None:
        assert ended(Cutoff(needed=3, deadline_s=3.0), three()) == (3.0, ["late", "used", "used"])
        assert ended(Cutoff(needed=2, deadline_s=3.0), three(1)) == (3.0, ["late", "vanished", "used"])
        assert ended(Cutoff(needed=2, deadline_s=5.0), three(1)) == (4.0, ["used", "vanished", "used"])
