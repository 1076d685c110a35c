"""`model.init`: a file with the initial weights of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from orchestrator.errors import ModelError
from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.models.registry import resolve_builder
from tests.support.runs import fresh, prepared


class TestInit:
    """`model.init`: a file with initial parameters."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Path:
        """A file with the tensors of the perceptron, each filled with its index."""
        layout = prepared().setting.layout
        path = tmp_path / "start.safetensors"
        save_file({s.name: torch.full(s.shape, float(i)) for i, s in enumerate(layout.segments)}, path)
        return path

    def _with(self, path: Path) -> Experiment:
        return fresh(f"model.init={path}")

    def test_run_starts_from_the_file(self, start: Path) -> None:
        experiment = self._with(start)
        expected = np.concatenate(
            [np.full(s.size, i, np.float32) for i, s in enumerate(experiment.setting.layout.segments)]
        )
        assert np.array_equal(experiment.initial, expected)
        assert experiment.fingerprint()["initial_parameters"] == params_sha256(expected)

    def test_other_dtypes_are_converted(self, start: Path) -> None:
        layout = prepared().setting.layout
        doubles = {s.name: torch.full(s.shape, 0.1, dtype=torch.float64) for s in layout.segments}
        save_file(doubles, start)
        assert set(self._with(start).initial.tolist()) == {float(np.float32(0.1))}

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"fc1.weight": torch.zeros(200, 65)}, r"fc1\.weight .*\(200, 65\).*\(200, 64\)"),
            ({"fc3.bias": None}, r"fc3\.bias .*\(10,\)"),
            ({"extra": torch.zeros(1)}, r"extra .*\(1,\)"),
        ],
    )
    def test_tensors_of_another_model_are_rejected(
        self, start: Path, change: dict[str, torch.Tensor | None], named: str
    ) -> None:
        layout = prepared().setting.layout
        tensors = {s.name: torch.zeros(s.shape) for s in layout.segments} | change
        save_file({n: t for n, t in tensors.items() if t is not None}, start)
        with pytest.raises(ModelError, match=named) as caught:
            self._with(start)
        assert (caught.value.field, caught.value.value) == ("model.init", start)

    def test_values_that_are_not_finite_are_rejected(self, start: Path) -> None:
        layout = prepared().setting.layout
        tensors = {s.name: torch.zeros(s.shape) for s in layout.segments}
        tensors["fc2.bias"][3] = torch.nan
        save_file(tensors, start)
        with pytest.raises(ModelError, match=r"fc2\.bias") as caught:
            self._with(start)
        assert (caught.value.field, caught.value.value) == ("model.init", start)
        assert "training.lr" not in str(caught.value), "no training has taken place"

    def test_state_dict_is_read_with_and_without_counters(self, start: Path) -> None:
        name = "model.name=tests.support.models:dropout"
        with torch.random.fork_rng(devices=[]):
            state = resolve_builder("tests.support.models:dropout")((1, 8, 8), 10).state_dict()
        state["2.running_mean"] += 3
        for missing in (set(), {"2.num_batches_tracked"}):
            save_file({n: t for n, t in state.items() if n not in missing}, start)
            experiment = fresh(name, f"model.init={start}")
            views = experiment.setting.layout.views(torch.from_numpy(experiment.initial.copy()))
            assert all(torch.equal(view, state[n]) for n, view in views.items())

    @pytest.mark.parametrize("content", [None, b"", b"garbage" * 10])
    def test_invalid_file_is_rejected(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "start.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read") as caught:
            self._with(path)
        assert caught.value.field == "model.init"
