"""Search spaces: loading by name, file and entry point, and the user's overrides."""

from pathlib import Path

import numpy as np
import pytest
from ray import tune
from ray.tune.search.sample import Categorical

from orchestrator.errors import ConfigError
from orchestrator.sweeping.space import (
    grids_as_choices,
    is_grid,
    is_sampled,
    load_space,
    space_names,
    to_plain,
    varying_keys,
    with_overrides,
)
from search_spaces import SPACES
from tests.support.sweeps import space_file


def _offer(folder: Path, code: str) -> None:
    """Write an installed package that offers the space `offered` through an entry point."""
    (folder / "offered_space.py").write_text(code)
    metadata = folder / "offering-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[sparsefleet.spaces]\noffered = offered_space\nsmoke = offered_space\n"
    )


class TestLoading:
    """`load_space`."""

    @pytest.mark.parametrize("name", SPACES)
    def test_registered_space_loads_by_name(self, name: str) -> None:
        space = load_space(name)
        assert (space.name, bool(space.dimensions)) == (name, True)
        assert space.summary.endswith(".")
        assert "\n" not in space.summary

    def test_space_has_the_dimensions_and_mutations_of_its_module(self) -> None:
        space = load_space("smoke")
        assert space.dimensions["algorithm.name"] == {"grid_search": ["feddst", "fedavg"]}
        assert space.dimensions["training.rounds"] == 6
        assert space.mutations == {}
        assert set(load_space("fedspa").mutations) == {"training.lr", "algorithm.alpha"}

    def test_space_of_a_file_has_the_file_s_name(self, tmp_path: Path) -> None:
        spec = space_file(tmp_path, 'SPACE = {"seed": tune.grid_search([1, 2])}\nMUTATIONS = {"a.b": [1]}')
        space = load_space(spec)
        assert (space.name, space.summary) == ("own", "What it compares.")
        assert space.dimensions == {"seed": {"grid_search": [1, 2]}}
        assert space.mutations == {"a.b": [1]}

    def test_file_name_may_contain_a_hyphen(self, tmp_path: Path) -> None:
        assert load_space(space_file(tmp_path, 'SPACE = {"seed": 1}', "my_own-2.py")).name == "my_own_2"

    def test_entry_point_offers_a_space_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _offer(tmp_path, '"""Offered."""\nSPACE = {"seed": 3}\n')
        monkeypatch.syspath_prepend(tmp_path)
        space = load_space("offered")
        assert (space.name, space.summary, space.dimensions) == ("offered", "Offered.", {"seed": 3})
        assert space_names() == {**SPACES, "offered": "offered_space"}
        assert "algorithm.name" in load_space("smoke").dimensions, "built-in names win"

    @pytest.mark.parametrize(
        ("spec", "remedy"),
        [
            ("smok", "'smoke'"),
            ("algorithm", "'algorithms'"),
            ("zzz", "algorithms, feddst, fedlps"),
            ("", ".py"),
        ],
    )
    def test_unknown_name_is_rejected_with_a_suggestion(self, spec: str, remedy: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load_space(spec)
        assert (caught.value.field, caught.value.value) == ("SPACE", spec)
        assert remedy in caught.value.remedy

    @pytest.mark.parametrize(
        ("code", "problem"),
        [
            ("OTHER = 1", "no SPACE"),
            ("SPACE = {}", "no SPACE"),
            ("SPACE = {1: 2}", "no SPACE"),
            ('SPACE = {"seed": 1}\nMUTATIONS = {}', "no MUTATIONS"),
            ('SPACE = {"seed": 1}\nMUTATIONS = None', "no MUTATIONS"),
            ("raise OSError('no')", "OSError: no"),
        ],
    )
    def test_file_without_a_space_is_rejected_in_one_line(
        self, tmp_path: Path, code: str, problem: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            load_space(space_file(tmp_path, code))
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing_file_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load_space(str(tmp_path / "gone.py"))
        assert (caught.value.field, caught.value.value) == ("SPACE", str(tmp_path / "gone.py"))


class TestOverrides:
    """`with_overrides`."""

    def test_value_fixes_a_key_and_list_becomes_a_dimension(self) -> None:
        lr = tune.uniform(0.0, 1.0)
        dimensions = {"training.lr": lr, "seed": tune.grid_search([1, 2]), "training.rounds": 5}
        assert with_overrides(dimensions, {"seed": 7, "training.batch_size": [10, 20]}) == {
            "training.lr": lr,
            "training.rounds": 5,
            "seed": 7,
            "training.batch_size": {"grid_search": [10, 20]},
        }
        assert dimensions["seed"] == {"grid_search": [1, 2]}, "the space does not change"

    def test_override_removes_dimensions_below_its_key(self) -> None:
        dimensions = {
            "sparsity": 1,
            "sparsity.level": 2,
            "sparsity.schedule.kind": 3,
            "sparsity.schedules": 4,
            "sparsity.schedule": 5,
        }
        found = with_overrides(dimensions, {"sparsity.schedule": {"kind": "linear"}})
        assert found == {
            "sparsity": 1,
            "sparsity.level": 2,
            "sparsity.schedules": 4,
            "sparsity.schedule": {"kind": "linear"},
        }

    def test_no_override_changes_nothing(self) -> None:
        assert with_overrides({"a": 1}, {}) == {"a": 1}


def test_varying_keys_are_listed_sampled_or_computed() -> None:
    dimensions = {
        "listed": tune.grid_search([1]),
        "sampled": tune.uniform(0, 1),
        "computed": tune.sample_from(lambda config: 1),
        "fixed": 3,
        "mapping": {"grid_search": [1], "more": 2},
    }
    assert varying_keys(dimensions) == ["listed", "sampled", "computed"]
    assert [key for key, value in dimensions.items() if is_grid(value)] == ["listed"]
    assert [key for key, value in dimensions.items() if is_sampled(value)] == ["sampled"]


def test_lists_become_choices_and_other_dimensions_stay() -> None:
    lr = tune.uniform(0, 1)
    found = grids_as_choices({"a": tune.grid_search([1, 2]), "training.lr": lr, "b": 3})
    assert isinstance(found["a"], Categorical)
    assert list(found["a"].categories) == [1, 2]
    assert (found["training.lr"], found["b"]) == (lr, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        ((1, (2.5, "a")), [1, [2.5, "a"]]),
        (np.array([[1, 2]]), [[1, 2]]),
        ({"a": (np.int32(1),), 2: None}, {"a": [1], "2": None}),
        ("text", "text"),
        (None, None),
        (True, True),
    ],
)
def test_plain_values_have_the_types_of_yaml(value: object, expected: object) -> None:
    found = to_plain(value)
    assert found == expected
    assert type(found) in (type(expected), np.str_)
