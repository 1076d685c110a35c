"""Text files of roles and lines: samples by hand, the split in time, notes and rejected files."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.sections import DataConfig, ModelConfig, PartitionConfig
from orchestrator.data.client_samples import ClientSamples
from orchestrator.data.dataset import Dataset, Inputs
from orchestrator.data.partition import make_partition
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError, PartitionError
from orchestrator.models.parameters import FlatModule
from orchestrator.models.registry import build_model

PLAY = """
BOB:
abcde
fghij

ANN:
0123456789

BOB:
klmnopqrs

Al: so be it:
zz
"""
#: the text of each role, by sorted name
TEXTS = {"ANN": "0123456789", "Al: so be it": "zz", "BOB": "abcde\nfghij\nklmnopqrs"}


def write(folder: Path, text: str = PLAY) -> Path:
    path = folder / "play.txt"
    path.write_text(text, encoding="utf-8")
    return path


def load(root: Path, **options: object) -> Dataset:
    defaults = {"sequence_length": 3, "stride": 1, "min_characters": 10, "test_fraction": 0.4}
    return load_dataset(DataConfig.model_validate({"name": "text", "root": root} | defaults | options))


def windows(
    dataset: Dataset, inputs: Inputs, labels: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> list[str]:
    """Each sample as a text: its characters and the next character."""
    assert dataset.vocabulary is not None
    rows = np.column_stack([inputs, labels])
    return ["".join(dataset.vocabulary[token] for token in row) for row in rows.tolist()]


def test_samples_by_hand(tmp_path: Path) -> None:
    """ANN has 10 characters, 6 of them for training. BOB has 21, and the last round(8.4) = 8 are for testing."""
    dataset = load(write(tmp_path), stride=2)
    train = windows(dataset, dataset.train_inputs, dataset.train_labels)
    assert train == ["0123", "2345", "abcd", "cde\n", "e\nfg", "fghi", "hij\n"]
    assert windows(dataset, dataset.test_inputs, dataset.test_labels) == ["6789", "lmno", "nopq", "pqrs"]
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is not None
    assert dataset.train_client_ids.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert dataset.test_client_ids.tolist() == [0, 1, 1, 1]


def test_vocabulary_contains_the_characters_of_all_roles(tmp_path: Path) -> None:
    dataset = load(write(tmp_path))
    assert dataset.vocabulary == "\n0123456789abcdefghijklmnopqrsz"
    assert dataset.num_classes == 31
    assert load(write(tmp_path), min_characters=20).num_classes == 31


def test_types_and_fingerprint_of_the_data_set(tmp_path: Path) -> None:
    dataset = load(write(tmp_path))
    assert (dataset.name, dataset.input_shape, dataset.mean, dataset.std) == ("text", (3,), (), ())
    assert dataset.train_inputs.dtype == dataset.test_inputs.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int64
    arrays = [dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels]
    assert not any(array.flags.writeable for array in arrays)
    assert dataset.fingerprint() == load(write(tmp_path)).fingerprint()
    assert dataset.fingerprint() != load(write(tmp_path), stride=2).fingerprint()


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (3, 1), (3, 4), (5, 7)])
@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_training_and_test_samples_share_no_characters(
    tmp_path: Path, length: int, stride: int, fraction: float
) -> None:
    """All characters of the text are different, so that a sample shows its positions in the text."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    dataset = load(
        write(tmp_path, f"A:\n{text}\n"), sequence_length=length, stride=stride, test_fraction=fraction
    )
    train = windows(dataset, dataset.train_inputs, dataset.train_labels)
    test = windows(dataset, dataset.test_inputs, dataset.test_labels)
    assert not set("".join(train)) & set("".join(test))
    assert all(window in text for window in train + test)
    for part in (train, test):
        assert {text.index(b) - text.index(a) for a, b in pairwise(part)} == {stride}
    cut = 300 - round(300 * fraction)
    assert text.index(train[0]) == 0
    assert text.index(test[0]) == cut
    # one more sample would go beyond the end of the part
    assert cut - stride < text.index(train[-1]) + length + 1 <= cut
    assert 300 - stride < text.index(test[-1]) + length + 1 <= 300


def test_more_than_256_characters_need_wider_tokens(tmp_path: Path) -> None:
    for num, dtype in ((256, np.uint8), (257, np.uint16)):
        text = "".join(map(chr, range(0x4E00, 0x4E00 + num)))
        dataset = load(write(tmp_path, f"A:\n{text}\n"))
        assert dataset.num_classes == num
        assert dataset.train_inputs.dtype == dtype
        assert dataset.to_tensor(dataset.test_inputs).dtype == torch.int64
        assert windows(dataset, dataset.test_inputs, dataset.test_labels)[-1] == text[-4:]


def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    plain = load(write(tmp_path))
    (tmp_path / "play.txt").write_bytes(b"\xef\xbb\xbf" + PLAY.replace("\n", "\r\n").encode())
    assert load(tmp_path).fingerprint() == plain.fingerprint()


def test_natural_partition_has_one_client_per_role(tmp_path: Path) -> None:
    dataset = load(write(tmp_path))
    config = DataConfig(validation_fraction=0.0, partition=PartitionConfig(kind="natural"))
    partition = make_partition(dataset, config, 2, np.random.default_rng(0))
    for client, text in enumerate((TEXTS["ANN"], TEXTS["BOB"])):
        cut = len(text) - round(0.4 * len(text))
        rows, test_rows = np.sort(partition.train[client]), np.sort(partition.test[client])
        train = windows(dataset, dataset.train_inputs[rows], dataset.train_labels[rows])
        test = windows(dataset, dataset.test_inputs[test_rows], dataset.test_labels[test_rows])
        assert train == [text[i : i + 4] for i in range(cut - 3)]
        assert test == [text[i : i + 4] for i in range(cut, len(text) - 3)]
    single = make_partition(dataset, config, 1, np.random.default_rng(0))
    assert single.train.sizes().tolist() in ([3], [10])
    with pytest.raises(PartitionError, match="at most 2") as caught:
        make_partition(dataset, config, 3, np.random.default_rng(0))
    assert caught.value.field == "fleet.num_clients"


@pytest.mark.parametrize("kind", ["iid", "shards", "dirichlet", "balanced_dirichlet", "quantity"])
def test_other_partitions_mix_the_roles(tmp_path: Path, kind: str) -> None:
    """The texts have two characters, so that both parts contain every class."""
    rng = np.random.default_rng(0)
    roles = ["".join(rng.choice(["a", "b"], 200)) for _ in range(3)]
    dataset = load(write(tmp_path, "\n\n".join(f"R{i}:\n{text}" for i, text in enumerate(roles))))
    config = DataConfig(partition=PartitionConfig.model_validate({"kind": kind, "alpha": 1.0}))
    partition = make_partition(dataset, config, 4, np.random.default_rng(0))
    used = np.concatenate([partition.train.indices, partition.validation.indices])
    assert np.array_equal(np.sort(used), np.arange(3 * (120 - 3)))
    assert partition.test.sizes().min() > 0


def test_client_samples_are_tokens(tmp_path: Path) -> None:
    dataset = load(write(tmp_path))
    samples = ClientSamples(dataset, np.array([0, 2]), augment=False, device=torch.device("cpu"))
    inputs, labels = samples.epoch(np.random.default_rng(0))
    assert inputs.dtype == torch.int64
    found = windows(dataset, inputs.numpy().astype(np.uint8), labels.numpy())
    assert sorted(found) == ["0123", "2345"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no role with lines"),
        ("\n \n\t\n", "no role with lines"),
        ("A novel\nbegins\n", "line 1"),
        ("\n\nA:\nwords\n\nmore words\n", "line 6"),
        (" :\nwords\n", "line 1"),
        ("A: words on the same line\n", "line 1"),
    ],
)
def test_file_of_another_format_is_rejected(tmp_path: Path, text: str, problem: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        load(file)
    assert (caught.value.field, caught.value.value) == ("data.root", file)
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path / "absent")
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / "absent")


@pytest.mark.parametrize("num_files", [0, 2])
def test_folder_without_exactly_one_file_is_rejected(tmp_path: Path, num_files: int) -> None:
    for number in range(num_files):
        (tmp_path / f"{number}.txt").write_text("A:\nb\n")
    with pytest.raises(DataError, match=rf"\b{num_files}\b") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)


def test_file_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "play.txt").write_bytes(b"A:\n\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / "play.txt")


def test_note_names_roles_that_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "play.txt"
    blocks = [f"{role}:\n{'ab' * length}" for role, length in (("A", 30), ("B", 2), ("C", 30), ("D", 3))]
    file.write_text("\n\n".join(blocks))
    (note,) = load(file, min_characters=50, sequence_length=3).notes
    assert note.startswith("2 of 4 roles")
    assert "B, D (" in note
    assert "data.min_characters=50" in note
    assert load(file, min_characters=1, sequence_length=1, test_fraction=0.5).notes == ()


def test_text_with_only_one_character_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "play.txt"
    file.write_text("A:\n" + "x" * 100)
    with pytest.raises(DataError, match="only the character 'x'") as caught:
        load(file, min_characters=1, sequence_length=3)
    assert (caught.value.field, caught.value.value) == ("data.root", file)


def test_min_characters_above_all_roles_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path), min_characters=22)
    assert (caught.value.field, caught.value.value) == ("data.min_characters", 22)
    assert "BOB, has 21 characters" in caught.value.problem


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"sequence_length": 4}, "the test part of ANN has 4 characters"),
        ({"sequence_length": 30}, "the test part of ANN has 4 characters"),
        ({"test_fraction": 0.75}, "the training part of ANN has 2 characters"),
        ({"min_characters": 2}, "the test part of Al: so be it has 1 characters"),
        ({"test_fraction": 0.01}, "the test part of ANN has 0 characters"),
    ],
)
def test_part_too_short_for_a_sample_is_rejected(
    tmp_path: Path, options: dict[str, object], part: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path), **options)
    assert caught.value.field == "data.sequence_length"
    assert part in caught.value.problem
    assert "raise data.min_characters" in caught.value.remedy


@pytest.fixture(scope="module")
def shakespeare() -> Dataset:
    folder = os.environ.get("SPARSEFLEET_TEST_DATA")
    if folder is None:
        pytest.skip("SPARSEFLEET_TEST_DATA names no folder with real data")
    return load_dataset(DataConfig(name="text", root=Path(folder) / "shakespeare"))


@pytest.mark.data
def test_tiny_shakespeare_has_its_roles_characters_and_windows(shakespeare: Dataset) -> None:
    text = (Path(os.environ["SPARSEFLEET_TEST_DATA"]) / "shakespeare" / "input.txt").read_text()
    assert shakespeare.vocabulary == "".join(sorted(set(text)))
    assert shakespeare.num_classes == 65
    assert shakespeare.train_client_ids is not None
    assert shakespeare.test_client_ids is not None
    lengths: dict[str, int] = {}
    for block in text.split("\n\n"):
        role, _, rest = block.strip("\n").partition(":\n")
        lengths[role] = lengths.get(role, -1) + (len(rest) + 1 if rest else 0)
    kept = [lengths[role] for role in sorted(lengths) if lengths[role] >= 1000]
    assert len(kept) == 141
    tests = [int(np.floor(0.2 * length + 0.5)) for length in kept]
    # a part of m characters has windows of 41 at 0, 10, 20, ... up to m - 41
    num_train = [(length - test - 41) // 10 + 1 for length, test in zip(kept, tests, strict=True)]
    assert np.bincount(shakespeare.train_client_ids).tolist() == num_train
    assert np.bincount(shakespeare.test_client_ids).tolist() == [(test - 41) // 10 + 1 for test in tests]
    assert shakespeare.train_inputs.shape == (sum(num_train), 40)


@pytest.mark.data
def test_training_on_real_samples_beats_character_frequencies(shakespeare: Dataset) -> None:
    """The loss of uniform guessing is ln(65) = 4.17; that of the characters' frequencies is about 3.3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(), shakespeare.input_shape, shakespeare.num_classes, None)
    flat = FlatModule(model)
    velocity = torch.zeros_like(flat.grad)
    rows = np.random.default_rng(0).permutation(len(shakespeare.train_labels))
    for batch in np.split(rows[:4000], 200):
        logits = model(shakespeare.to_tensor(shakespeare.train_inputs[batch]))
        flat.grad.zero_()
        nn.functional.cross_entropy(logits, torch.from_numpy(shakespeare.train_labels[batch])).backward()
        velocity.mul_(0.9).add_(flat.grad)
        flat.values.sub_(0.1 * velocity)
    with torch.no_grad():
        logits = model(shakespeare.to_tensor(shakespeare.test_inputs[::10]))
        loss = nn.functional.cross_entropy(logits, torch.tensor(shakespeare.test_labels[::10]))
    assert float(loss) < 3.0
