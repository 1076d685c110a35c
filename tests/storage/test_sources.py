"""Copies of users' files in a run's folder: where a resumed run finds the files, and what counts as a change."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.plugins.source_files import SourceFiles
from orchestrator.storage.sources import (
    MAX_COPY_BYTES,
    copies_in_use,
    require_unchanged,
    store_sources,
    stored_places,
    unknown_sources,
    updated_sources,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def _sources(tmp_path: Path, name: str = "mine.py", **contents: str) -> SourceFiles:
    """Sources of a file in the folder `home`; the file exists. `contents` are the files' contents by stem."""
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / name).write_text("")
    files = {f"{stem}.py": content.encode() for stem, content in contents.items()}
    return SourceFiles(name, tmp_path / "home" / name, files)


def _about(run: Path, **sources: SourceFiles) -> dict[str, Any]:
    return {"run_id": "r", "sources": store_sources(run, sources)}


def test_description_has_both_paths_and_the_digest_of_each_file(run: Path, tmp_path: Path) -> None:
    sources = _sources(tmp_path, mine="x")
    assert _about(run, algorithm=sources)["sources"] == {
        "algorithm": {
            "named": "mine.py",
            "path": str(tmp_path / "home" / "mine.py"),
            # printf x | sha256sum
            "sha256": {"mine.py": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
        }
    }
    assert (run / "sources" / "algorithm" / "mine.py").read_bytes() == b"x"


def test_file_is_found_where_it_was_then_in_the_current_folder_then_in_the_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = _about(run, algorithm=_sources(tmp_path, mine="x"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "other" / "mine.py").write_text("")
    for folder in (tmp_path / "home", tmp_path / "other", run / "sources" / "algorithm"):
        places = stored_places(run, about)
        assert places == {"mine.py": folder / "mine.py"}
        assert bool(copies_in_use(run, places)) == (folder.parent.name == "sources")
        (folder / "mine.py").unlink()
    assert stored_places(run, about) == {}


def test_large_files_are_described_but_not_copied(run: Path, tmp_path: Path) -> None:
    sources = SourceFiles(
        "f.yaml", tmp_path / "f.yaml", {"f.yaml": b"a", "t.csv": b"0" * (MAX_COPY_BYTES + 1)}
    )
    assert set(store_sources(run, {"fleet": sources})["fleet"]["sha256"]) == {"f.yaml", "t.csv"}
    assert [path.name for path in (run / "sources" / "fleet").iterdir()] == ["f.yaml"]


@pytest.mark.parametrize(
    ("label", "field"),
    [
        ("algorithm", "algorithm.name"),
        ("algorithm-2", "algorithm.name"),
        ("model", "model.name"),
        ("space", "SPACE"),
    ],
)
@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"mine": "y", "helper": "x"}, "mine.py"),
        ({"mine": "x", "helper": "y"}, "helper.py"),
        ({"mine": "x"}, "helper.py"),
        ({"mine": "x", "helper": "x", "more": ""}, "more.py"),
        ({"mine": "y", "helper": "y"}, "helper.py, mine.py"),
    ],
)
def test_changed_added_and_removed_files_are_named(
    run: Path, tmp_path: Path, label: str, field: str, now: dict[str, str], changed: str
) -> None:
    about = _about(run, **{label: _sources(tmp_path, mine="x", helper="x")})
    require_unchanged(run, about, {label: _sources(tmp_path, mine="x", helper="x")})
    with pytest.raises(ConfigError) as caught:
        require_unchanged(run, about, {label: _sources(tmp_path, **now)})
    assert (caught.value.field, caught.value.value) == (field, "mine.py")
    assert f" {changed} " in caught.value.problem


def test_fleets_and_files_of_other_trials_are_not_compared(run: Path, tmp_path: Path) -> None:
    fleet = _sources(tmp_path, "street.yaml", mine="x")
    about = _about(run, fleet=fleet, algorithm=_sources(tmp_path, mine="x"))
    require_unchanged(run, about, {"fleet": _sources(tmp_path, "street.yaml", mine="y")})
    require_unchanged(run, about, {"algorithm": _sources(tmp_path, "other.py", mine="y")})


def test_unchanged_sources_leave_the_description(run: Path, tmp_path: Path) -> None:
    about = _about(run, algorithm=_sources(tmp_path, mine="x"))
    assert updated_sources(run, about, {"algorithm": _sources(tmp_path, mine="x")}, 3) == about
    assert not list(run.glob("sources-*"))


def test_each_accepted_change_keeps_the_earlier_copies(run: Path, tmp_path: Path) -> None:
    about = _about(run, algorithm=_sources(tmp_path, mine="first"))
    for num_rounds, content in ((2, "second"), (5, "third")):
        sources = {"algorithm": _sources(tmp_path, mine=content)}
        about = updated_sources(run, about, sources, num_rounds)
        require_unchanged(run, about, sources)
    assert about["replaced_sources"] == [
        {"folder": "sources-replaced-1", "num_rounds": 2},
        {"folder": "sources-replaced-2", "num_rounds": 5},
    ]
    folders = ("sources-replaced-1", "sources-replaced-2", "sources")
    assert [(run / folder / "algorithm" / "mine.py").read_text() for folder in folders] == [
        "first",
        "second",
        "third",
    ]


def test_run_of_an_earlier_release_gets_copies(run: Path, tmp_path: Path) -> None:
    sources = {"algorithm": _sources(tmp_path, mine="x"), "fleet": _sources(tmp_path, "f.yaml", mine="x")}
    assert [line.count("mine.py") for line in unknown_sources({"run_id": "r"}, sources)] == [1]
    assert unknown_sources(_about(run), sources) == []
    about = updated_sources(run, {"run_id": "r"}, sources, 1)
    assert set(about["sources"]) == {"algorithm", "fleet"}
    assert "replaced_sources" not in about


@pytest.mark.parametrize("sources", [None, [], {"algorithm": "mine.py"}, {"algorithm": {"named": "mine.py"}}])
def test_damaged_description_counts_as_no_description(run: Path, sources: object) -> None:
    assert stored_places(run, {"sources": sources}) == {}
