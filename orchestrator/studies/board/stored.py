"""Reads and adds the results that the board shows: `<study>-<scale>-outcomes.csv` and `-verdicts.csv` in one folder.

A study that ran with some of its settings has files of its own, with these settings in the name.
"""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import CheckpointError, RequestError
from orchestrator.studies.execution.folder import StudyFolder
from orchestrator.studies.report.export import OUTCOME_COLUMNS, VERDICT_COLUMNS

#: one line of a CSV file, by column
Row = dict[str, str]
_KINDS: dict[str, Sequence[str]] = {"outcomes": OUTCOME_COLUMNS, "verdicts": VERDICT_COLUMNS}


@dataclass(frozen=True, slots=True)
class StoredResults:
    """The lines of all outcome files and of all verdict files, in the order of the files' names."""

    outcomes: tuple[Row, ...]
    verdicts: tuple[Row, ...]


def read_stored(folder: Path) -> StoredResults:
    """Read all results in a folder; none if the folder does not exist. Raises CheckpointError for other columns."""
    rows = {
        kind: tuple(row for file in sorted(folder.glob(f"*-{kind}.csv")) for row in _read(file, columns))
        for kind, columns in _KINDS.items()
    }
    return StoredResults(rows["outcomes"], rows["verdicts"])


def add_study(study: Path, folder: Path) -> list[Path]:
    """Copy the CSV files of a study's report into the folder, in place of earlier results of the study at its scale.

    Results for some settings replace results for the same settings; results for all settings replace all of them.
    Raises RequestError for a study without a report.
    """
    source = StudyFolder(study)
    state = source.read()
    folder.mkdir(parents=True, exist_ok=True)
    name, copies = f"{state.name}-{state.scale}", []
    part = f"-{'+'.join(state.settings)}" if state.settings else ""
    for kind in _KINDS:
        file = source.report / f"{kind}.csv"
        if not file.is_file():
            problem = "the study has no report"
            raise RequestError("STUDY", study, problem, "run `sparsefleet reproduce STUDY --resume` first")
        for earlier in () if part else folder.glob(f"{name}-*{kind}.csv"):
            earlier.unlink()
        copies.append(folder / f"{name}{part}-{kind}.csv")
        shutil.copyfile(file, copies[-1])
    return copies


def _read(file: Path, columns: Sequence[str]) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise CheckpointError(
                f"{file} does not have the columns {', '.join(columns)}; add the study again"
            )
        return list(reader)
