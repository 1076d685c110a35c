"""Artifacts that MLflow gets from a run's folder."""

import json
from pathlib import Path

from orchestrator.tracking.artifacts import write_artifacts, write_first_artifacts


def test_artifacts_without_sources_are_skipped_and_failed_ones_named(tmp_path: Path) -> None:
    run_dir, out = tmp_path / "run", tmp_path / "out"
    run_dir.mkdir()
    out.mkdir()
    assert write_artifacts(run_dir, out, {"accuracy": 0.5}) == []
    assert [path.name for path in out.iterdir()] == ["summary.json"]
    assert json.loads((out / "summary.json").read_text()) == {"accuracy": 0.5}
    assert write_first_artifacts(run_dir, out, {}) == []
    (run_dir / "events.parquet").write_bytes(b"a table")
    (run_dir / "metrics.jsonl").write_text("no record\n")
    problems = write_artifacts(run_dir, out, {})
    assert len(problems) == 1
    assert "CheckpointError" in problems[0]
    assert problems[0].startswith("the artifact curves.png ")
    assert (out / "events.parquet").read_bytes() == b"a table"
    (run_dir / "partition.parquet").write_bytes(b"a table")
    (problem,) = write_first_artifacts(run_dir, out, {})
    assert problem.startswith("the artifact partition.png ")


def test_passwords_of_earlier_releases_are_not_copied(tmp_path: Path) -> None:
    run_dir, out = tmp_path / "run", tmp_path / "out"
    run_dir.mkdir()
    out.mkdir()
    address = "http://ann:secret@host:5000"
    (run_dir / "config.yaml").write_text(f"tracking:\n  uri: {address}\n  experiment: a@b\n")
    (run_dir / "sweep.json").write_text(json.dumps({"base": {"tracking": {"uri": address}}}))
    (run_dir / "failures.jsonl").write_text(f'{{"cause": "{address}/x failed"}}\n')
    assert write_first_artifacts(run_dir, out, {}) == []
    assert write_artifacts(run_dir, out, {}) == []
    assert (out / "config.yaml").read_text() == "tracking:\n  uri: http://host:5000\n  experiment: a@b\n"
    assert json.loads((out / "sweep.json").read_text())["base"]["tracking"]["uri"] == "http://host:5000"
    assert json.loads((out / "failures.jsonl").read_text()) == {"cause": "http://host:5000/x failed"}


def test_users_files_are_artifacts_from_the_start(tmp_path: Path) -> None:
    copy = tmp_path / "run" / "sources" / "algorithm" / "parts" / "mine.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("X = 1\n")
    (tmp_path / "out").mkdir()
    assert write_first_artifacts(tmp_path / "run", tmp_path / "out", {}) == []
    assert (tmp_path / "out" / "sources" / "algorithm" / "parts" / "mine.py").read_text() == "X = 1\n"
