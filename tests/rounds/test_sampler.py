"""The cohort by policy and availability, without busy clients."""

from collections import Counter
from math import inf

import pytest

from orchestrator.errors import ConfigError, RoundError
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.seeds import stream
from orchestrator.rounds.sampler import POLL_INTERVAL_S, CohortSampler
from tests.support.errors import rejects
from tests.support.runs import prepared
from tests.support.timing import with_availability


class TestUniform:
    """The default policy ignores samples and devices."""

    def test_each_round_has_its_own_stream(self) -> None:
        experiment = prepared()
        expected = stream(0, "server", 5, "selection").choice(6, 3, replace=False)
        assert CohortSampler(experiment).cohort(5) == tuple(expected)
        assert {type(k) for k in CohortSampler(experiment).cohort(5)} == {int}

    def test_cohort_depends_only_on_round_and_part(self) -> None:
        experiment = prepared("fleet.num_clients=60")
        cohorts = [
            CohortSampler(experiment).cohort(round_idx, part=part) for round_idx in (0, 1) for part in (0, 1)
        ]
        assert len(set(cohorts)) == 4
        selector = CohortSampler(experiment)
        again = [selector.cohort(round_idx, part=part) for round_idx in (1, 0) for part in (1, 0)]
        assert again == cohorts[::-1]

    def test_with_replacement_a_client_can_be_sampled_twice(self) -> None:
        selector = CohortSampler(prepared("training.with_replacement=true", "training.clients_per_round=9"))
        assert len(selector.cohort(0)) == 9

    def test_cohort_has_the_requested_size(self) -> None:
        selector = CohortSampler(prepared())
        assert [len(selector.cohort(0, count=count)) for count in (1, 2, 6)] == [1, 2, 6]


@pytest.mark.parametrize(
    ("clients_per_round", "over_selection", "expected"),
    [(5, 1.0, 5), (5, 1.3, 7), (10, 1.3, 13), (10, 1.31, 14), (3, 1.1, 4), (15, 2.0, 20), (1, 1.0, 1)],
)
def test_over_selection_enlarges_the_cohort(
    clients_per_round: int, over_selection: float, expected: int
) -> None:
    """Rounded up, except for float error (10 x 1.3 is 13), and at most the number of clients."""
    selector = CohortSampler(
        prepared(
            "fleet.num_clients=20",
            f"training.clients_per_round={clients_per_round}",
            f"fleet.over_selection={over_selection}",
        )
    )
    assert selector.cohort_size == expected
    assert len(selector.cohort(0)) == expected


def test_clients_are_sampled_in_proportion_to_their_samples() -> None:
    """The first sampled client is client k with probability n_k / n, within five standard deviations."""
    experiment = prepared("selection.kind=samples")
    sizes = experiment.partition.train.sizes()
    selector, num_rounds = CohortSampler(experiment), 3000
    first = Counter(selector.cohort(round_idx)[0] for round_idx in range(num_rounds))
    for k, probability in enumerate(sizes / sizes.sum()):
        deviation = (num_rounds * probability * (1 - probability)) ** 0.5
        assert abs(first[k] - num_rounds * probability) < 5 * deviation
    assert max(sizes) > 2 * min(sizes)
    assert {len(set(selector.cohort(round_idx))) for round_idx in range(50)} == {3}


class TestAvailable:
    """The policy prefers clients that stay available longest."""

    def test_cohort_is_ordered_by_remaining_availability(self) -> None:
        """With as many candidates as clients, only clients with equal availability are ordered at random."""
        experiment = with_availability(
            prepared("selection.kind=available", "selection.candidates=6"),
            [[(0, 50)], [(0, 10)], [(0, 90)], [(5, 999)], [(0, 70)], [(0, 60)]],
        )
        assert CohortSampler(experiment).cohort(0, now_s=0.0) == (2, 4, 5)
        assert CohortSampler(experiment).cohort(0, now_s=5.0) == (3, 2, 4)
        assert CohortSampler(experiment).cohort(0, now_s=5.0, busy={3, 4}) == (2, 5, 0)
        assert CohortSampler(experiment).cohort(0, now_s=80.0) == (3, 2)

    def test_only_candidates_are_compared(self) -> None:
        """Four candidates for a cohort of two, ordered by remaining availability."""
        options = ("training.clients_per_round=2", "fleet.num_clients=40")
        intervals = [[(0.0, 100.0 - k)] for k in range(40)]
        experiment = with_availability(prepared("selection.kind=available", *options), intervals)
        asked = CohortSampler(with_availability(prepared(*options), intervals)).cohort(3, count=4)
        assert CohortSampler(experiment).cohort(3) == tuple(sorted(asked)[:2])

    def test_equal_availability_keeps_the_order_of_sampling(self) -> None:
        everybody = CohortSampler(prepared("selection.kind=available", "selection.candidates=6"))
        assert everybody.cohort(0) == CohortSampler(prepared()).cohort(0, count=6)[:3]


class TestPowerOfChoice:
    """Candidates are sampled by their number of samples; the candidates with the largest losses train."""

    def test_candidates_are_twice_the_cohort_or_as_configured(self) -> None:
        base = ("selection.kind=power_of_choice", "fleet.num_clients=12")
        assert len(CohortSampler(prepared(*base)).cohort(0)) == 6
        assert len(CohortSampler(prepared(*base, "selection.candidates=4")).cohort(0)) == 4
        assert len(CohortSampler(prepared(*base, "training.clients_per_round=8")).cohort(0)) == 12
        assert len(CohortSampler(prepared(*base, "fleet.over_selection=1.5")).cohort(0)) == 10

    def test_candidates_are_sampled_by_samples(self) -> None:
        options = ("fleet.num_clients=12", "training.clients_per_round=3")
        asked = CohortSampler(prepared(*options, "selection.kind=power_of_choice")).cohort(4)
        assert asked == CohortSampler(prepared(*options, "selection.kind=samples")).cohort(4, count=6)

    def test_largest_losses_win_and_ties_go_to_the_first(self) -> None:
        selector = CohortSampler(prepared("selection.kind=power_of_choice"))
        assert selector.largest_losses({5: 0.5, 3: 2.0, 1: 0.5, 0: 0.1, 4: 0.5}) == (3, 5, 1)
        assert selector.largest_losses({5: 0.5}) == (5,)

    def test_only_power_of_choice_needs_losses(self) -> None:
        kinds = ("uniform", "samples", "available", "power_of_choice")
        assert [CohortSampler(prepared(f"selection.kind={kind}")).needs_losses for kind in kinds] == [
            False,
            False,
            False,
            True,
        ]


@pytest.mark.parametrize("kind", ["uniform", "samples", "available", "power_of_choice"])
def test_only_available_idle_clients_are_sampled(kind: str) -> None:
    experiment = with_availability(
        prepared(f"selection.kind={kind}"),
        [[(0, 50)], [(10, 50)], [(0, 10), (20, 30)], [(0, 50)], [], [(0, 50)]],
    )
    selector = CohortSampler(experiment)
    assert set(selector.cohort(0, count=6)) == {0, 2, 3, 5}
    assert set(selector.cohort(0, now_s=10.0, count=6)) == {0, 1, 3, 5}
    assert set(selector.cohort(0, now_s=20.0, busy=(0, 5), count=6)) == {1, 2, 3}
    assert selector.cohort(0, now_s=50.0) == ()


class TestWaiting:
    """A round without an available client waits."""

    def test_clock_advances_by_the_poll_interval(self) -> None:
        """Client 1 becomes available at 130 s; the third check after 7 s finds it. Client 0 is available, but busy."""
        experiment = with_availability(
            prepared("fleet.num_clients=2", "training.clients_per_round=2"), [[(0, 999)], [(130, 999)]]
        )
        assert CohortSampler(experiment).wait_for_cohort(0, 7.0, {0: inf}) == (
            (1,),
            7.0 + 3 * POLL_INTERVAL_S,
        )

    def test_clock_stays_when_a_client_is_available(self) -> None:
        experiment = prepared()
        cohort, now_s = CohortSampler(experiment).wait_for_cohort(2, 7.25)
        assert (cohort, now_s) == (CohortSampler(experiment).cohort(2), 7.25)

    def test_cohort_can_be_smaller_than_configured(self) -> None:
        experiment = with_availability(prepared(), [[(0, 9)], [], [(0, 9)], [], [], []])
        cohort, now_s = CohortSampler(experiment).wait_for_cohort(0, 1.0)
        assert (set(cohort), now_s) == ({0, 2}, 1.0)

    def test_wait_raises_after_a_week(self) -> None:
        experiment = with_availability(
            prepared("fleet.num_clients=2", "training.clients_per_round=1"), [[(0, 9)], [(0, 7 * 86400)]]
        )
        assert CohortSampler(experiment).wait_for_cohort(0, 9.0) == ((1,), 9.0)
        with pytest.raises(RoundError, match="a week") as caught:
            CohortSampler(experiment).wait_for_cohort(3, 9.0, {1: inf})
        assert caught.value.round_idx == 3


def participation_of(client_id: int, round_idx: int, loss: float = 1.0) -> ClientEvent:
    return ClientEvent(
        round_idx=round_idx,
        kind="train",
        position=0,
        client_id=client_id,
        profile="default",
        download_bytes=0,
        upload_bytes=0,
        train_flops=0.0,
        train_flops_dense=0.0,
        unmasked_flops=0.0,
        download_s=0.0,
        compute_s=1.0,
        compute_ideal_s=1.0,
        upload_s=0.0,
        num_examples=10,
        train_loss=loss,
    )


class TestGuided:
    """Oort and REFL learn from the rounds so far."""

    def test_oort_prefers_new_clients_at_first(self) -> None:
        selector = CohortSampler(prepared("selection.kind=oort"))
        selector.record([participation_of(k, 0) for k in (0, 1, 2)])
        assert set(selector.cohort(1)) == {3, 4, 5}

    def test_refl_rests_clients_and_falls_back_to_the_oldest(self) -> None:
        selector = CohortSampler(prepared("selection.kind=refl", "selection.cooldown=2"))
        selector.record([participation_of(k, 0) for k in (0, 1)])
        selector.record([participation_of(k, 1) for k in (2, 3)])
        assert set(selector.cohort(2, count=2)) == {4, 5}
        assert set(selector.cohort(2, count=4)) == {0, 1, 4, 5}
        assert set(selector.cohort(3, count=4)) == {0, 1, 4, 5}

    def test_refl_prefers_clients_that_leave_soon(self) -> None:
        """Client 2 leaves first, then client 4; client 0 is away."""
        ends = [0.0, 90.0, 10.0, 80.0, 20.0, 70.0]
        intervals = [[(0.0, end)] if end else [(50.0, 60.0)] for end in ends]
        experiment = with_availability(prepared("selection.kind=refl"), intervals)
        assert CohortSampler(experiment).cohort(0, count=3) == (2, 4, 5)

    @pytest.mark.parametrize("kind", ["oort", "refl"])
    def test_asynchronous_rounds_and_replacement_are_rejected(self, kind: str) -> None:
        with rejects("asynchrony.kind", "fedbuff"):
            prepared(f"selection.kind={kind}", "asynchrony.kind=fedbuff")
        with rejects("selection.kind", kind):
            prepared(f"selection.kind={kind}", "training.with_replacement=true")


OWN = "selection.kind=tests.support.sampling_rules:largest_losses"


class TestOwnRule:
    """A user's function chooses among the available clients."""

    def test_rule_knows_the_participations_of_earlier_rounds(self) -> None:
        """The new clients first (0, 2, 4, 5), then the largest losses (3 before 1)."""
        sampler = CohortSampler(prepared(OWN, "training.clients_per_round=4", "selection.options.share=1.0"))
        sampler.record([participation_of(1, 0, loss=0.5), participation_of(3, 0, loss=2.0)])
        assert sampler.cohort(1) == (0, 2, 4, 5)
        sampler.record([participation_of(k, 1, loss=0.1) for k in (0, 2, 4, 5)])
        assert sampler.cohort(2)[:2] == (3, 1)

    def test_random_part_depends_on_the_round(self) -> None:
        cohorts = [CohortSampler(prepared(OWN, "selection.options.share=0.0")).cohort(r) for r in (0, 1, 0)]
        assert cohorts[0] == cohorts[2] != cohorts[1]

    def test_rule_sees_only_available_clients(self) -> None:
        experiment = with_availability(
            prepared(OWN), [[(0.0, 10.0 if k in (2, 4) else 99.0)] for k in range(6)]
        )
        assert set(CohortSampler(experiment).cohort(0, now_s=5.0)) <= {0, 1, 2, 3, 4, 5}
        assert not {2, 4} & set(CohortSampler(experiment).cohort(0, now_s=20.0))

    @pytest.mark.parametrize(
        "option", ["asynchrony.kind=fedbuff", "training.with_replacement=true", "selection.candidates=5"]
    )
    def test_options_that_a_rule_does_not_have_are_rejected(self, option: str) -> None:
        with pytest.raises(ConfigError):
            prepared(OWN, option)

    def test_built_in_kinds_have_no_options(self) -> None:
        with pytest.raises(ConfigError, match="built in and has no options"):
            prepared("selection.options.share=0.5")
