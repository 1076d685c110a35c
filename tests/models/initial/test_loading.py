"""`model.init`: a file with the initial weights of a run."""

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18

from orchestrator.errors import CheckpointError, ConfigError, ModelError
from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.models.registry import resolve_builder
from orchestrator.runtime.run_folder import begin_run, verify_run
from tests.support.runs import fresh, prepared
from tests.support.text_files import text_data


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


class TestInitNames:
    """`model.init_names`: a checkpoint of another code base."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """The state of torchvision's ResNet-18 for 1000 classes, as torchvision names it, in half precision."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            state = resnet18().state_dict()
        path = tmp_path / "resnet18.safetensors"
        save_file({n: t.half() if t.is_floating_point() else t for n, t in state.items()}, path)
        return path

    def _state(self, experiment: Experiment) -> dict[str, torch.Tensor]:
        flat = experiment.new_model()
        flat.load(torch.from_numpy(experiment.initial.copy()))
        return flat.module.state_dict()

    def test_torchvision_checkpoint_fills_the_body_and_the_head_keeps_its_values(
        self, checkpoint: Path
    ) -> None:
        name = "model.name=tests.support.pretrained_models:resnet_body"
        experiment = fresh(name, f"model.init={checkpoint}", 'model.init_names={body: ""}')
        state, stored, built = self._state(experiment), load_file(checkpoint), self._state(fresh(name))
        for key, tensor in state.items():
            part = key.partition(".")
            expected = stored[part[2]].float() if part[0] == "body" else built[key].float()
            assert torch.equal(tensor.float(), expected), key
        # 20 convolutions, weight and bias of 20 norms and of the linear layer, three buffers for each norm
        assert sum(key.startswith("body.") for key in state) == 20 + 2 * 21 + 3 * 20
        digest = sha256(checkpoint.read_bytes()).hexdigest()
        assert experiment.fingerprint()["initial_file"] == digest

    def test_tensors_are_read_under_the_names_of_a_language_model(self, tmp_path: Path) -> None:
        """The checkpoint calls the blocks h, the embedding wte, and their perceptron mlp."""
        path, data = tmp_path / "gpt.safetensors", text_data(tmp_path)
        name = "model.name=char_transformer"
        built = self._state(fresh(name, *data))
        renamed = {}
        for key, tensor in built.items():
            new = key.replace("blocks", "h").replace("fc1", "mlp.in").replace("fc2", "mlp.out")
            renamed[f"transformer.{new.replace('embedding', 'wte')}"] = tensor + 1.0
        save_file(renamed, path)
        layers = {f"blocks.{d}.fc{n}": f"transformer.h.{d}.mlp.{m}" for d in (0, 1) for n, m in _MLP}
        names = {"": "transformer", "blocks": "transformer.h", "embedding": "transformer.wte", **layers}
        loaded = self._state(
            fresh(name, *data, f"model.init={path}", f"model.init_names={json.dumps(names)}")
        )
        assert all(torch.equal(loaded[key], tensor + 1.0) for key, tensor in built.items())

    @pytest.mark.parametrize(
        ("names", "problem", "remedy"),
        [
            (
                '{"": ""}',
                "the file has no tensor body.conv1.weight for the model's body.conv1.weight",
                "body.conv1.weight: null",
            ),
            (
                "{body.fc: fx}",
                "the file has no tensor fx.weight for the model's body.fc.weight",
                "did you mean 'fc.weight'?",
            ),
            (
                "{head: fc}",
                r"tensor fc.weight has shape (1000, 512), but the model's head.weight needs (10, 1000)",
                "head.weight: null",
            ),
            ("{tail: fc}", "the model has no tensor or part tail", "choose from"),
        ],
    )
    def test_unfit_names_are_rejected_in_one_line(
        self, checkpoint: Path, names: str, problem: str, remedy: str
    ) -> None:
        name = "model.name=tests.support.pretrained_models:resnet_body"
        with pytest.raises(ModelError, match=re.escape(problem)) as caught:
            fresh(name, f"model.init={checkpoint}", f"model.init_names={names}")
        assert remedy in caught.value.remedy
        assert "\n" not in str(caught.value)

    def test_remedy_of_a_missing_tensor_works(self, checkpoint: Path) -> None:
        """Keep the initial values of the tensor that the file does not have."""
        name = "model.name=tests.support.pretrained_models:resnet_body"
        experiment = fresh(
            name,
            f"model.init={checkpoint}",
            'model.init_names={body: "", body.fc: fx, body.fc.weight: null, body.fc.bias: null}',
        )
        assert experiment.fingerprint()["initial_file"]

    def test_names_without_a_file_are_rejected(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.init is not set") as caught:
            fresh("model.init_names={fc: head}")
        assert caught.value.field == "model.init_names"


#: layers of a perceptron, and their names in a checkpoint
_MLP = ((1, "in"), (2, "out"))


@pytest.mark.parametrize("same_values", [True, False])
def test_resume_rejects_another_file(tmp_path: Path, same_values: bool) -> None:
    """Also a file with equal weights: only the file that the run names is known to be the one that it started with."""
    layout, path = prepared().setting.layout, tmp_path / "start.safetensors"
    tensors = {s.name: torch.full(s.shape, 0.01) for s in layout.segments}
    save_file(tensors, path)
    settings = (f"model.init={path}", "training.rounds=1")
    store = begin_run(fresh(*settings), tmp_path / "r1")
    assert store.about()["fingerprint"]["initial_file"] == sha256(path.read_bytes()).hexdigest()
    assert verify_run(store, fresh(*settings)) == []
    save_file(tensors if same_values else {n: t + 1 for n, t in tensors.items()}, path, {"note": "another"})
    with pytest.raises(CheckpointError, match="initial_file is not what the run"):
        verify_run(store, fresh(*settings))
