"""Synchronous rounds: late updates, over-selection and power-of-choice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.errors import ConfigError
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.sampler import CohortSampler
from tests.support.errors import rejects
from tests.support.fakes import cohort
from tests.support.masks import gaps_bytes
from tests.support.runs import (
    REMEMBERING,
    Flaky,
    committed,
    drive,
    fresh,
    new_driver,
    prepared,
)
from tests.support.timing import (
    MODEL_BYTES,
    Shuffled,
    assert_same_run,
    dense_flops,
    events,
    metrics,
    models_of,
    trained_from,
    with_durations,
)

LATE = ("fleet.deadline_s=2", "fleet.late=keep")


class TestLate:
    """Three clients need 1 s, 1 s and 3.5 s, and the deadline is 2 s.

    Round 0 waits for client 2 until the deadline, 2 s. Rounds 1 and 2 sample only clients 0 and 1, and need 1 s each.
    Client 2's update arrives at 3.5 s, before round 2 ends at 4 s.
    """

    @staticmethod
    def _experiment(*overrides: str) -> Experiment:
        return with_durations((1.0, 1.0, 3.5), *LATE, *overrides)

    def test_late_update_counts_in_the_round_of_its_arrival(self, tmp_path: Path) -> None:
        drive(self._experiment(), tmp_path)
        found = [(e["round_idx"], e["client_id"], e["start_s"], e["staleness"]) for e in events(tmp_path)]
        of_round = [sorted(f for f in found if f[0] == round_idx) for round_idx in range(4)]
        assert of_round == [
            [(0, 0, 0.0, 0), (0, 1, 0.0, 0)],
            [(1, 0, 2.0, 0), (1, 1, 2.0, 0)],
            [(2, 0, 3.0, 0), (2, 1, 3.0, 0), (2, 2, 0.0, 2)],
            [(3, 0, 4.0, 0), (3, 1, 4.0, 0)],
        ]
        assert found[6] == (2, 2, 0.0, 2), "it folds after the round's own"
        assert {e["outcome"] for e in events(tmp_path)} == {"used"}

    def test_metrics_of_rounds_with_late_updates(self, tmp_path: Path) -> None:
        drive(self._experiment(), tmp_path)
        rows = metrics(tmp_path)
        assert [row["time/emulated_s"] for row in rows] == [2.0, 1.0, 1.0, 2.0]
        assert [row["fleet/participants"] for row in rows] == [2, 2, 3, 2]
        assert [row["fleet/in_flight"] for row in rows] == [1, 1, 0, 1]
        assert [row["fleet/stragglers"] for row in rows] == [1, 0, 0, 1]
        assert [row["fleet/staleness_max"] for row in rows] == [0, 0, 2, 0]
        assert rows[2]["fleet/staleness_mean"] == 2 / 3
        assert [row["comm/upload_bytes"] / MODEL_BYTES for row in rows] == [2, 2, 3, 2]

    @pytest.mark.parametrize(
        ("options", "share"),
        [((), 3**-0.5), (("asynchrony.staleness=constant",), 1.0), (("asynchrony.exponent=2",), 1 / 9)],
    )
    def test_late_update_is_discounted_and_weighted_by_samples(
        self, tmp_path: Path, options: tuple[str, ...], share: float
    ) -> None:
        """w3 = sum n_k x_k / n, with x_2 = w2 + s (w_2k - w0) for the late client that began with w0."""
        experiment = self._experiment("training.rounds=3", *options)
        w = models_of(experiment, tmp_path)
        x = [trained_from(experiment, w[2], 2, k) for k in (0, 1)]
        late = trained_from(experiment, w[0], 0, 2) - w[0].numpy().astype(float)
        x.append(w[2].numpy().astype(float) + share * late)
        sizes = experiment.partition.train.sizes()
        expected = sum(n * values for n, values in zip(sizes, x, strict=True)) / sizes.sum()
        np.testing.assert_allclose(w[3].numpy(), expected, rtol=0, atol=1e-7)
        without = sum(n * values for n, values in zip(sizes[:2], x[:2], strict=True)) / sizes[:2].sum()
        assert np.abs(w[3].numpy() - without).max() > 1e-3

    def test_late_update_has_the_weight_of_refl(self, tmp_path: Path) -> None:
        """The only late update is two rounds late, and the one with the largest distance.

        w3 = (n_0 x_0 + n_1 x_1 + n_2 s x_2) / (n_0 + n_1 + n_2 s) with x_2 = w2 + w_2k - w0 and
        s = .65 / 3 + .35 (1 - exp(-1) / 10).
        """
        experiment = self._experiment("training.rounds=3", "asynchrony.staleness=refl")
        w = models_of(experiment, tmp_path)
        x = [trained_from(experiment, w[2], 2, k) for k in (0, 1)]
        late = trained_from(experiment, w[0], 0, 2) - w[0].numpy().astype(float)
        x.append(w[2].numpy().astype(float) + late)
        weights = experiment.partition.train.sizes().astype(float)
        weights[2] *= 0.65 / 3 + 0.35 * (1 - np.exp(-1.0) / 10)
        expected = sum(n * values for n, values in zip(weights, x, strict=True)) / weights.sum()
        np.testing.assert_allclose(w[3].numpy(), expected, rtol=0, atol=1e-7)

    def test_dropped_late_update_never_counts(self, tmp_path: Path) -> None:
        """The other policy samples client 2 again, and its update is late again."""
        experiment = with_durations((1.0, 1.0, 3.5), "fleet.deadline_s=2")
        drive(experiment, tmp_path)
        assert [row["fleet/stragglers"] for row in metrics(tmp_path)] == [1, 1, 1, 1]
        assert [row["time/emulated_s"] for row in metrics(tmp_path)] == [2.0] * 4
        assert [e["outcome"] for e in events(tmp_path) if e["client_id"] == 2] == ["late"] * 4

    @pytest.mark.parametrize(
        "method",
        ["algorithm.name=fedavg", REMEMBERING, "algorithm.name=fedspa", "asynchrony.staleness=refl"],
    )
    def test_killed_after_every_round_in_turn(self, tmp_path: Path, method: str) -> None:
        """A resumed run submits the late task again, from the client state with which the task started."""
        experiment = self._experiment(method, "training.rounds=5")
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        for _ in range(5):
            drive(experiment, tmp_path / "killed", killed_after=1)
        assert drive(experiment, tmp_path / "killed").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")

    def test_extended_run_equals_the_longer_run(self, tmp_path: Path) -> None:
        """The update that was on its way when two rounds had ended counts in the third."""
        short, longer = (self._experiment(f"training.rounds={n}", "training.eval_every=1") for n in (2, 4))
        undisturbed = drive(longer, tmp_path / "longer")
        drive(short, tmp_path / "extended")
        assert drive(longer, tmp_path / "extended").params_sha256() == undisturbed.params_sha256()
        assert_same_run(tmp_path / "extended", tmp_path / "longer")

    def test_reopened_finished_run_trains_nothing(self, tmp_path: Path) -> None:
        experiment = self._experiment("training.rounds=2")
        drive(experiment, tmp_path)
        executor = Flaky(experiment, {})
        drive(experiment, tmp_path, executor=executor)
        assert executor.submitted == []

    def test_client_state_changes_when_the_late_update_arrives(self, tmp_path: Path) -> None:
        """The client is sampled again only after the arrival, with the state of the late task."""
        experiment = self._experiment(REMEMBERING, "sparsity.level=0", "training.rounds=7")
        num_tasks, starts = [], []
        for _ in new_driver(experiment, tmp_path).run():
            states = committed(experiment, tmp_path).client_states
            num_tasks.append([states[k].num_tasks if k in states else 0 for k in range(3)])
            starts.append([e["start_s"] for e in events(tmp_path) if e["client_id"] == 2])
        assert num_tasks == [[1, 1, 0], [2, 2, 0], [3, 3, 1], [4, 4, 1], [5, 5, 1], [6, 6, 2], [7, 7, 2]]
        assert starts == [[], [], [0.0], [0.0], [0.0], [0.0, 4.0], [0.0, 4.0]]

    def test_failure_of_a_restored_task_is_logged(self, tmp_path: Path) -> None:
        experiment = self._experiment()
        drive(experiment, tmp_path, killed_after=1)
        position = cohort(experiment, 0).index(2)
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, position): 1}))
        lines = (tmp_path / "failures.jsonl").read_text().splitlines()
        assert len(lines) == 1
        assert '"client_id": 2' in lines[0]
        assert [row["fleet/failures"] for row in metrics(tmp_path)].count(1) == 1

    @pytest.mark.parametrize("method", ["ssfl", "prunefl"])
    def test_methods_that_plan_their_own_rounds_are_rejected(self, method: str) -> None:
        with rejects("fleet.late", "keep"):
            fresh(f"algorithm.name={method}", *LATE)


class TestOverSelection:
    """The round needs two of six clients and samples three."""

    OPTIONS = ("training.clients_per_round=2", "fleet.over_selection=1.5")

    def test_surplus_is_billed_and_does_not_count(self, tmp_path: Path) -> None:
        seconds = (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
        experiment = with_durations(seconds, *self.OPTIONS)
        w = models_of(experiment, tmp_path)
        sizes = experiment.partition.train.sizes()
        for round_idx, row in enumerate(metrics(tmp_path)):
            sampled = cohort(experiment, round_idx)
            assert len(sampled) == 3
            slowest = min(sampled)  # the client of the smallest number is the slowest
            used = [k for k in sampled if k != slowest]
            x = [trained_from(experiment, w[round_idx], round_idx, k) for k in used]
            expected = sum(sizes[k] * v for k, v in zip(used, x, strict=True)) / sizes[used].sum()
            np.testing.assert_allclose(w[round_idx + 1].numpy(), expected, rtol=0, atol=1e-7)
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            assert [(e["client_id"], e["outcome"]) for e in mine] == [
                (k, "surplus" if k == slowest else "used") for k in sampled
            ]
            assert row["comm/upload_bytes"] == row["comm/download_bytes"] == 3 * MODEL_BYTES
            assert row["compute/train_flops"] == pytest.approx(
                sum(dense_flops(experiment, k) for k in sampled)
            )
            assert row["time/emulated_s"] == pytest.approx(max(seconds[k] for k in used), rel=1e-12)
            assert (row["fleet/participants"], row["fleet/surplus"]) == (2, 1)

    def test_surplus_update_does_not_change_the_client_state(self, tmp_path: Path) -> None:
        experiment = with_durations((3.0, 2.0, 1.0), REMEMBERING, *self.OPTIONS)
        drive(experiment, tmp_path)
        commit = committed(experiment, tmp_path)
        assert {k: state.num_tasks for k, state in commit.client_states.items()} == {1: 4, 2: 4}
        assert set(commit.shared_masks) == {0, 1, 2}, "it got the mask all the same"

    def test_order_of_completion_does_not_matter(self, tmp_path: Path) -> None:
        experiment = with_durations((3.0, 2.0, 1.0, 1.0), REMEMBERING, *self.OPTIONS)
        drive(experiment, tmp_path / "lazy")
        drive(experiment, tmp_path / "shuffled", executor=Shuffled(experiment, 1))
        assert_same_run(tmp_path / "shuffled", tmp_path / "lazy")

    def test_method_that_chooses_its_clients_is_rejected(self) -> None:
        """`local` trains every client: only the fastest two would ever count."""
        with pytest.raises(ConfigError) as caught:
            fresh("algorithm.name=local", *self.OPTIONS)
        assert (caught.value.field, caught.value.value) == ("fleet.over_selection", 1.5)
        assert prepared("algorithm.name=ssfl", *self.OPTIONS).config.fleet.over_selection == 1.5

    def test_over_selection_without_surplus_equals_a_plain_round(self, tmp_path: Path) -> None:
        """The driver samples and needs five of six clients, and folds the five updates in plan order."""
        seconds = (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
        plain = with_durations(seconds, "training.clients_per_round=5")
        over = with_durations(seconds, "training.clients_per_round=5", "fleet.over_selection=1.000000000001")
        assert CohortSampler(over).cohort_size == 5
        drive(plain, tmp_path / "plain")
        drive(over, tmp_path / "over")
        assert_same_run(tmp_path / "over", tmp_path / "plain")


class TestPowerOfChoice:
    """Of four candidates the two with the largest loss train."""

    OPTIONS = ("training.clients_per_round=2", "selection.kind=power_of_choice")

    @staticmethod
    def _loss(experiment: Experiment, params: torch.Tensor, client_id: int) -> float:
        dataset, flat = experiment.dataset, experiment.new_model()
        rows = experiment.partition.train[client_id]
        flat.load(params)
        inputs = dataset.to_tensor(dataset.train_inputs[rows])
        with torch.no_grad():
            labels = torch.from_numpy(dataset.train_labels[rows])
            return float(cross_entropy(flat.module(inputs).double(), labels))

    def test_clients_with_largest_loss_of_current_model_train(self, tmp_path: Path) -> None:
        experiment = prepared("model.name=tests.support.models:linear", *self.OPTIONS)
        w = models_of(experiment, tmp_path)
        for round_idx in range(4):
            candidates = cohort(experiment, round_idx)
            assert len(candidates) == 4
            losses = {k: self._loss(experiment, w[round_idx], k) for k in candidates}
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            assert [e["client_id"] for e in mine if e["kind"] == "loss"] == list(candidates)
            chosen = [e["client_id"] for e in mine if e["kind"] == "train"]
            assert chosen == sorted(candidates, key=lambda k: -losses[k])[:2]

    @pytest.mark.parametrize("method", ["fedavg", "randommask"])
    def test_candidates_are_billed(self, tmp_path: Path, method: str) -> None:
        """A candidate downloads the model, makes one forward pass and uploads its loss; then it has the model.

        The loss has 40 bytes: 12 for the header, 16 for the item's header, 4 for its name, 8 for the number.
        """
        experiment = prepared(
            "model.name=tests.support.models:linear",
            f"algorithm.name={method}",
            "sparsity.allocation=uniform",
            "fleet.name=five-tier",
            *self.OPTIONS,
        )
        drive(experiment, tmp_path)
        setting, weights = experiment.setting, 64 * 10
        active = weights if method == "fedavg" else round(0.2 * weights)
        sparse = 12 + 16 + 8 + 4 * (active + 10)
        section = 0
        if method == "randommask":
            mask = experiment.algorithm.init(torch.from_numpy(experiment.initial)).mask
            assert mask is not None
            section = gaps_bytes(setting.layout.restrict(mask).numpy())
        has_mask: set[int] = set()
        for event in events(tmp_path):
            k = event["client_id"]
            num_images = len(experiment.partition.train[k])
            if event["kind"] == "loss":
                mask_bytes = 0 if k in has_mask else section
                has_mask.add(k)
                assert (event["download_bytes"], event["upload_bytes"]) == (sparse + mask_bytes, 40)
                assert event["train_flops"] == pytest.approx(2 * active * num_images)
                assert event["train_flops_dense"] == pytest.approx(2 * weights * num_images)
                assert event["train_loss"] is None
            else:
                assert (event["download_bytes"], event["upload_bytes"]) == (0, sparse)
                assert event["train_flops"] == pytest.approx(6 * active * num_images)
            profile = setting.profile_of(k, event["round_idx"])
            per_image = 2 * weights if event["kind"] == "loss" else 6 * weights
            assert event["unmasked_flops"] == pytest.approx(per_image * num_images)
            assert event["compute_s"] == pytest.approx(event["unmasked_flops"] / profile.flops_per_s)
            assert event["compute_ideal_s"] == pytest.approx(event["train_flops"] / profile.flops_per_s)

    def test_round_takes_the_time_of_both_phases(self, tmp_path: Path) -> None:
        experiment = prepared("fleet.name=five-tier", *self.OPTIONS)
        drive(experiment, tmp_path)
        for round_idx, row in enumerate(metrics(tmp_path)):
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            asked, trained = ([e for e in mine if e["kind"] == kind] for kind in ("loss", "train"))
            slowest = [max(e["total_s"] for e in phase) for phase in (asked, trained)]
            assert row["time/emulated_s"] == pytest.approx(sum(slowest), rel=1e-12)
            assert {e["start_s"] for e in trained} == {asked[0]["start_s"] + slowest[0]}
            assert row["fleet/participants"] == 2
            assert row["comm/download_bytes"] == sum(e["download_bytes"] for e in asked)

    def test_loss_task_does_not_change_client_state(self, tmp_path: Path) -> None:
        experiment = prepared(REMEMBERING, *self.OPTIONS)
        drive(experiment, tmp_path)
        trained = [e["client_id"] for e in events(tmp_path) if e["kind"] == "train"]
        states = committed(experiment, tmp_path).client_states
        assert {k: state.num_tasks for k, state in states.items()} == {k: trained.count(k) for k in trained}

    def test_failed_candidate_is_not_chosen(self, tmp_path: Path) -> None:
        experiment = prepared("runtime.failure_policy=drop", "training.rounds=1", *self.OPTIONS)
        drive(experiment, tmp_path / "a")
        chosen = [e["client_id"] for e in events(tmp_path / "a") if e["kind"] == "train"]
        position = cohort(experiment, 0).index(chosen[0])
        drive(experiment, tmp_path / "b", executor=Flaky(experiment, {(0, position): 1}))
        others = [e["client_id"] for e in events(tmp_path / "b") if e["kind"] == "train"]
        assert (len(others), others[0]) == (2, chosen[1])
        assert chosen[0] not in others

    def test_killed_after_every_round_in_turn(self, tmp_path: Path) -> None:
        experiment = prepared(REMEMBERING, *self.OPTIONS)
        drive(experiment, tmp_path / "undisturbed")
        for _ in range(4):
            drive(experiment, tmp_path / "killed", killed_after=1)
        drive(experiment, tmp_path / "killed")
        assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")
