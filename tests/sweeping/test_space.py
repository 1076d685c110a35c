"""Search spaces: by name, file and entry point, and under the user's own values."""

from pathlib import Path

import numpy as np
import pytest
from ray import tune
from ray.tune.search.sample import Categorical

from orchestrator.errors import ConfigError
from orchestrator.sweeping.space import (
    is_drawn,
    is_grid,
    lists_as_choices,
    load_space,
    plain,
    space_names,
    varied,
    with_overrides,
)
from search_spaces import SPACES
from tests.support.sweeps import space_file


def _offer(folder: Path, code: str) -> None:
    """An installed package that offers the space `offered`."""
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
    def test_every_registered_space_loads_by_name(self, name: str) -> None:
        space = load_space(name)
        assert (space.name, bool(space.dimensions)) == (name, True)
        assert space.summary.endswith(".")
        assert "\n" not in space.summary

    def test_a_space_s_parts_are_those_of_its_module(self) -> None:
        space = load_space("smoke")
        assert space.dimensions["algorithm.name"] == {"grid_search": ["feddst", "fedavg"]}
        assert space.dimensions["training.rounds"] == 6
        assert space.mutations == {}
        assert set(load_space("fedspa").mutations) == {"training.lr", "algorithm.alpha"}

    def test_a_file_is_a_space_of_its_own_name(self, tmp_path: Path) -> None:
        spec = space_file(tmp_path, 'SPACE = {"seed": tune.grid_search([1, 2])}\nMUTATIONS = {"a.b": [1]}')
        space = load_space(spec)
        assert (space.name, space.summary) == ("own", "What it compares.")
        assert space.dimensions == {"seed": {"grid_search": [1, 2]}}
        assert space.mutations == {"a.b": [1]}

    def test_a_file_s_name_may_have_any_characters(self, tmp_path: Path) -> None:
        assert load_space(space_file(tmp_path, 'SPACE = {"seed": 1}', "my_own-2.py")).name == "my_own_2"

    def test_an_installed_package_offers_a_space_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _offer(tmp_path, '"""Offered."""\nSPACE = {"seed": 3}\n')
        monkeypatch.syspath_prepend(tmp_path)
        space = load_space("offered")
        assert (space.name, space.summary, space.dimensions) == ("offered", "Offered.", {"seed": 3})
        assert space_names() == {**SPACES, "offered": "offered_space"}
        assert "algorithm.name" in load_space("smoke").dimensions, "our own names win"

    @pytest.mark.parametrize(
        ("spec", "remedy"),
        [
            ("smok", "did you mean 'smoke'?"),
            ("algorithm", "did you mean 'algorithms'?"),
            ("zzz", "choose one of algorithms, feddst, fedlps, fedspa, heterogeneity, schedules"),
            ("", "or a .py file"),
        ],
    )
    def test_another_name_is_refused_with_a_near_one(self, spec: str, remedy: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load_space(spec)
        assert (caught.value.field, caught.value.value) == ("SPACE", spec)
        assert remedy in str(caught.value)

    @pytest.mark.parametrize(
        ("code", "problem"),
        [
            ("OTHER = 1", "it has no SPACE that maps dotted config keys to values"),
            ("SPACE = [1]", "it has no SPACE"),
            ("SPACE = {}", "it has no SPACE"),
            ("SPACE = {1: 2}", "it has no SPACE"),
            ('SPACE = {"seed": 1}\nMUTATIONS = {}', "it has no MUTATIONS"),
            ('SPACE = {"seed": 1}\nMUTATIONS = None', "it has no MUTATIONS"),
            ("raise OSError('no')", "raised OSError: no"),
        ],
    )
    def test_a_file_without_a_space_is_refused_in_one_line(
        self, tmp_path: Path, code: str, problem: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            load_space(space_file(tmp_path, code))
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no file"):
            load_space(str(tmp_path / "gone.py"))


class TestOverrides:
    """`with_overrides`."""

    def test_a_value_fixes_a_dimension_and_a_list_is_one(self) -> None:
        lr = tune.uniform(0.0, 1.0)
        dimensions = {"training.lr": lr, "seed": tune.grid_search([1, 2]), "training.rounds": 5}
        assert with_overrides(dimensions, {"seed": 7, "training.batch_size": [10, 20]}) == {
            "training.lr": lr,
            "training.rounds": 5,
            "seed": 7,
            "training.batch_size": {"grid_search": [10, 20]},
        }
        assert dimensions["seed"] == {"grid_search": [1, 2]}, "the space itself is left alone"

    def test_dimensions_below_an_overridden_key_go(self) -> None:
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

    def test_without_overrides_nothing_changes(self) -> None:
        assert with_overrides({"a": 1}, {}) == {"a": 1}


def test_what_varies_is_listed_drawn_or_computed() -> None:
    dimensions = {
        "listed": tune.grid_search([1]),
        "drawn": tune.uniform(0, 1),
        "computed": tune.sample_from(lambda config: 1),
        "fixed": 3,
        "mapping": {"grid_search": [1], "more": 2},
    }
    assert varied(dimensions) == ["listed", "drawn", "computed"]
    assert [key for key, value in dimensions.items() if is_grid(value)] == ["listed"]
    assert [key for key, value in dimensions.items() if is_drawn(value)] == ["drawn"]


def test_listed_dimensions_become_choices_and_others_stay() -> None:
    lr = tune.uniform(0, 1)
    found = lists_as_choices({"a": tune.grid_search([1, 2]), "training.lr": lr, "b": 3})
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
def test_plain_values_are_those_of_yaml(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    assert type(found) in (type(expected), np.str_)
