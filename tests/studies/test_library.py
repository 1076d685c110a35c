"""Study files: the built-in ones plan at both scales, and invalid files are rejected with one line."""

from pathlib import Path

import pytest

from algorithms import ALGORITHMS
from orchestrator.errors import RequestError
from orchestrator.studies.library import read_study, study_names, study_path
from orchestrator.studies.plan import StudyPlan
from orchestrator.studies.rules import UntestedRule
from orchestrator.studies.schema import SCALES, Scale
from tests.support.studies import SMALL, small_study


def test_six_studies_are_built_in() -> None:
    assert set(study_names()) == {
        "attacks",
        "feddst-upload-cap",
        "fedspa-personal",
        "ssfl-sparsity",
        "fedlps-heterogeneity",
        "frontier",
    }


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", study_names())
def test_every_config_of_a_built_in_study_is_valid(name: str, scale: Scale) -> None:
    plan = StudyPlan(name=name, study=read_study(study_path(name)), scale=scale, num_seeds=3, data=None)
    plan.check()
    assert plan.cells


@pytest.mark.parametrize("name", study_names())
def test_built_in_study_follows_the_protocol(name: str) -> None:
    study = read_study(study_path(name))
    assert len(study.learning_rates) == 4
    for setting in study.settings.values():
        assert set(setting.scales) == set(SCALES)
    tested = [claim for claim in study.claims.values() if not isinstance(claim.rule, UntestedRule)]
    assert tested or name == "frontier"


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("title: A small study.", "tittle: A small study.", "title"),
        ("margin: 0.1}", "margin: -0.1}", "claims.better.rule.difference.margin"),
        ("kind: difference", "kind: differing", "claims.better.rule"),
        ("contrasts: [at-cap], margin", "contrasts: [at-cup], margin", "study"),
        ("tuned_with: masked", "tuned_with: frozen", "study"),
        ("tuned_by: accuracy", "tuned_by: upload", "study"),
        ("tuned_with: masked", "tuned_by: upload", "study"),
        ("tuned_with: masked", "tuned_by: speed", "study"),
        ("b: [dense, frozen], measure: accuracy, at: cap", "b: [dens], measure: accuracy, at: cap", "study"),
        ("at: end}", "at: target}", "study"),
        ("upload_cap: 900kB", "upload_cap: lots", "settings.digits.scales.quick"),
        ("  model: {name: mlp}", "  seed: 3", "config"),
        ("  model: {name: mlp}", "  model.name: mlp", "config"),
        ("tune: {algorithm.alpha: [0.05, 0.2]}", "tune: {algorithm.alpha: []}", "arms.masked"),
    ],
)
def test_invalid_file_is_rejected_by_its_key(tmp_path: Path, before: str, after: str, where: str) -> None:
    assert before in SMALL
    with pytest.raises(RequestError) as error:
        read_study(small_study(tmp_path, SMALL.replace(before, after, 1)))
    assert error.value.field == where
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["- 1", "a: [", "\x00"])
def test_file_that_is_no_mapping_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError) as error:
        read_study(small_study(tmp_path, text))
    assert error.value.field == "STUDY"


def test_unknown_name_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(RequestError) as error:
        study_path("frontiers")
    assert "'frontier'" in error.value.remedy


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        study_path(str(tmp_path / "gone.yaml"))
    assert error.value.field == "STUDY"


def test_frontier_has_every_registered_method() -> None:
    arms = read_study(study_path("frontier")).arms.values()
    assert {arm.config["algorithm"]["name"] for arm in arms} == set(ALGORITHMS)
