"""The files about the project agree with the code and with each other."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from orchestrator.experiment.methods import load_algorithm

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
#: the methods whose papers the citation file names
FOUR = ("feddst", "fedspa", "ssfl", "fedlps")


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_citation_names_the_papers_of_the_four_methods() -> None:
    citation = _yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    for name, paper in zip(FOUR, citation["references"], strict=True):
        (cited,) = load_algorithm(name).traits.citations
        authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
        assert (paper["notes"].lower(), paper["title"], authors) == (name, cited.title, list(cited.authors))
        assert (paper["year"], paper["url"]) == (cited.year, cited.address)
        assert paper["identifiers"][0]["value"] == f"arXiv:{cited.arxiv}"
        assert paper["type"] == ("conference-paper" if cited.conference else "article")


def test_citation_and_changelog_have_the_version_of_the_package() -> None:
    citation = _yaml("CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## \[(.*?)\](?: - (\S+))?$", changelog, re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    assert sections[1] == (PROJECT["version"], citation["date-released"])
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_direct_dependency_is_pinned() -> None:
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {_normalised(name) for name in pins}
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    names = {_normalised(re.match(r"[\w.-]+", one)[0]) for one in wanted}  # type: ignore[index]
    assert names - pinned == {PROJECT["name"]}, "the extra `dev` includes the extra `docs`"


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert targets == phony
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
    assert len(pages) > 10
    for page in [*pages, ROOT / ".ci" / "run"]:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, page.name


def test_continuous_integration_runs_the_local_checks() -> None:
    steps = _yaml(".github/workflows/ci.yml")["jobs"]["ci"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (\w+)$", script, re.MULTILINE) == ["lint", "docs", "package", "test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert os.access(ROOT / ".ci" / "package", os.X_OK)


def test_pre_commit_runs_the_pinned_tools_of_the_environment() -> None:
    (repository,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    commands = [hook["entry"].split()[0] for hook in repository["hooks"]]
    assert commands == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_issue_forms_have_the_fields_that_github_requires() -> None:
    forms = [
        path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
    ]
    assert len(forms) == 2
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert form.keys() >= {"name", "description", "body"}
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(field["attributes"]["label"] for field in form["body"])
