"""The migration of stored configs from format to format."""

import pytest

from orchestrator.config.formats import CONFIG_FORMATS, ConfigFormats, FormatChange, RemovedKey
from orchestrator.errors import ConfigError
from tests.support.errors import rejects

FORMATS = ConfigFormats(
    [
        FormatChange(
            version=2,
            added={"training.warmup": 0, "training.level": lambda config: config.get("seed")},
            renamed={"training.rate": "training.lr"},
            removed={"wire.legacy": RemovedKey("start a new run", neutral=False)},
            restated={"training.decay": lambda value, config: 1 - value},
        ),
        FormatChange(version=3, renamed={"training.lr": "optimizer.lr"}),
    ]
)


def test_config_of_the_latest_format_stays_as_it_is() -> None:
    tree = {"training": {"rate": 0.1, "decay": 0.25}, "wire": {"legacy": True}}
    assert FORMATS.latest == 3
    assert FORMATS.migrate(tree, 3) == tree


def test_all_changes_since_the_format_of_the_config_apply_in_order() -> None:
    tree = {"training": {"rate": 0.1, "decay": 0.25}, "wire": {"legacy": False}, "seed": 4}
    expected = {
        "training": {"decay": 0.75, "warmup": 0, "level": 4},
        "optimizer": {"lr": 0.1},
        "wire": {},
        "seed": 4,
    }
    assert FORMATS.migrate(tree, 1) == expected
    assert tree["training"] == {"rate": 0.1, "decay": 0.25}


def test_only_later_changes_apply_to_a_config_of_an_intermediate_format() -> None:
    assert FORMATS.migrate({"training": {"lr": 0.1, "decay": 0.25}}, 2) == {
        "training": {"decay": 0.25},
        "optimizer": {"lr": 0.1},
    }


def test_key_that_already_has_its_new_name_keeps_its_value() -> None:
    """A resumed run sets keys by their new names in a config of the old format."""
    tree = {"training": {"rate": 0.1, "warmup": 7}, "optimizer": {"lr": 0.3}}
    migrated = FORMATS.migrate(tree, 1)
    assert migrated["optimizer"] == {"lr": 0.3}
    assert migrated["training"] == {"warmup": 7, "level": None}


def test_removed_key_with_another_value_is_rejected_with_the_remedy() -> None:
    tree = {"wire": {"legacy": True}}
    with pytest.raises(ConfigError) as caught:
        FORMATS.migrate(tree, 1)
    assert (caught.value.field, caught.value.value, caught.value.remedy) == (
        "wire.legacy",
        True,
        "start a new run",
    )
    assert FORMATS.migrate(tree, 1, keep_removed=True)["wire"] == {"legacy": True}


@pytest.mark.parametrize("value", [3, None, "text", []])
def test_value_in_the_place_of_a_section_is_left_to_the_validation(value: object) -> None:
    assert FORMATS.migrate({"wire": value}, 1)["wire"] == value


@pytest.mark.parametrize(
    ("local_epochs", "before", "after"), [(1, None, 1), (2, None, None), (5, 3, 3), (1, 1, 1)]
)
def test_readjustment_of_format_1_stays_after_the_only_epoch(
    local_epochs: int, before: int | None, after: int | None
) -> None:
    tree = {"algorithm": {"adjust_after_epoch": before}, "training": {"local_epochs": local_epochs}}
    assert CONFIG_FORMATS.migrate(tree, 1)["algorithm"] == {"adjust_after_epoch": after}
    assert CONFIG_FORMATS.migrate(tree, 2)["algorithm"] == {"adjust_after_epoch": before}
    assert "algorithm" not in CONFIG_FORMATS.migrate({"seed": 3}, 1)


@pytest.mark.parametrize("fleet", [{}, {"name": "five-tier"}])
def test_devices_of_format_1_save_all_masked_time(fleet: dict[str, str]) -> None:
    migrated = CONFIG_FORMATS.migrate({"fleet": fleet}, 1)
    assert migrated["fleet"] == {**fleet, "sparse_efficiency": 1.0}
    assert CONFIG_FORMATS.migrate({"fleet": fleet}, 2)["fleet"] == fleet


@pytest.mark.parametrize("version", [1, 2])
def test_runs_of_earlier_formats_keep_their_coding_of_masks(version: int) -> None:
    assert CONFIG_FORMATS.migrate({"wire": {"value_dtype": "float16"}}, version)["wire"] == {
        "value_dtype": "float16",
        "version": 1,
    }
    assert CONFIG_FORMATS.migrate({}, 3) == {}


def test_runs_of_earlier_formats_may_have_data_of_any_size() -> None:
    assert CONFIG_FORMATS.migrate({"data": {"name": "mnist"}}, 2)["data"]["max_gib"] > 1000


@pytest.mark.parametrize("version", [1, 2, 3])
def test_scores_of_submodels_stay_those_of_formats_before_4(version: int) -> None:
    """Only configs of methods with a masked loss get the keys."""
    migrated = CONFIG_FORMATS.migrate({"algorithm": {"name": "x", "masked_loss": True}}, version)["algorithm"]
    assert (migrated["scored_model"], migrated["masked_scores"]) == ("submodel", False)
    assert "scored_model" not in CONFIG_FORMATS.migrate({"algorithm": {"name": "x"}}, version)["algorithm"]


def test_bandits_of_formats_before_4_have_no_equal_today() -> None:
    """`min_ratio` has no effect with another policy. FedLPS's importance was learned in another way."""
    policies = [
        {"algorithm": {"ratio_policy": policy, "min_ratio": 0.0625}} for policy in ("capability", "p_ucbv")
    ]
    assert CONFIG_FORMATS.migrate(policies[0], 3) == {"algorithm": {"ratio_policy": "capability"}}
    with rejects("algorithm.min_ratio", 0.0625):
        CONFIG_FORMATS.migrate(policies[1], 3)
    with rejects("algorithm.importance_std", 0.01):
        CONFIG_FORMATS.migrate({"algorithm": {"importance_std": 0.01, "importance_batches": 1}}, 3)


@pytest.mark.parametrize("key", ["min_ratio", "importance_std"])
def test_keys_of_a_users_own_method_stay(key: str) -> None:
    tree = {"algorithm": {"name": "my.py:Mine", key: 0.5}}
    assert CONFIG_FORMATS.migrate(tree, 3) == tree


def test_models_of_formats_before_3_compute_on_contiguous_images() -> None:
    model = {"name": "cnn_mnist"}
    for version in (1, 2):
        assert CONFIG_FORMATS.migrate({"model": model}, version)["model"] == {
            **model,
            "memory_format": "contiguous",
        }
    assert CONFIG_FORMATS.migrate({"model": model}, 3) == {"model": model}


@pytest.mark.parametrize(
    ("name", "constants"),
    [("digits", ([0.3053], [0.376])), ("mnist", (None, None)), (None, ([0.3053], [0.376]))],
)
def test_digits_of_format_1_keep_their_constants(
    name: str | None, constants: tuple[list[float] | None, list[float] | None]
) -> None:
    tree = {"data": {} if name is None else {"name": name}}
    migrated = CONFIG_FORMATS.migrate(tree, 1)["data"]
    assert (migrated["mean"], migrated["std"]) == constants
    assert not {"mean", "std"} & CONFIG_FORMATS.migrate(tree, 2)["data"].keys()
