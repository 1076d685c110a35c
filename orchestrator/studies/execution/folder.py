"""Reads and writes the folder of a study.

<storage>/<study_id>/study.json    the options, the stage, the ids of the sweeps, the chosen values, versions
                     study.yaml    a copy of the study file, which decides for resumed studies and reports
                     <name>_<stage>.py    the search space of each stage's sweep
                     report/       the verdicts as HTML, Markdown and CSV, and the plots
                     tracking.json, lock

The folders of the sweeps are next to the study's folder.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.atomic_write import write_durably
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.storage.folders import SWEEP_FILE, is_sweep
from orchestrator.storage.lock import locked_folder
from orchestrator.studies.library import read_study
from orchestrator.studies.plan import Cell, StudyPlan, Values
from orchestrator.studies.schema import Scale

STUDY_JSON, STUDY_YAML = "study.json", "study.yaml"
#: all values with the first tuning seed; the best values with the others; the reported runs
Stage = Literal["screening", "tuning", "report"]
STAGES: tuple[Stage, ...] = ("screening", "tuning", "report")


#: setting, arm and values
NamedValues = tuple[str, str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyState:
    """The content of study.json.

    - `data`: absolute folder of the data.
    - `overrides`: values of keys of `runtime` and `tracking`, by dotted key.
    - `command`: the command that started the study.
    - `settings`: the settings that the user chose; empty: all.
    - `sweeps`: id of the sweep of each stage that has started.
    - `finished`: the stages whose sweeps have ended.
    - `finalists`, `chosen`: the best values of the screening, and the values that tuning chose; [setting, arm, values].
    """

    name: str
    scale: Scale
    num_seeds: int
    data: str
    overrides: Mapping[str, Any]
    command: str
    packages: Mapping[str, str]
    git_commit: str
    settings: tuple[str, ...] = ()
    sweeps: Mapping[str, str] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    finalists: tuple[NamedValues, ...] = ()
    chosen: tuple[NamedValues, ...] = ()

    @property
    def finalist_values(self) -> dict[Cell, list[Values]]:
        """The best values of the screening by cell."""
        found: dict[Cell, list[Values]] = {}
        for setting, arm, values in self.finalists:
            found.setdefault(Cell(setting, arm), []).append(values)
        return found

    @property
    def chosen_values(self) -> dict[Cell, Values]:
        """The chosen values by cell."""
        return {Cell(setting, arm): values for setting, arm, values in self.chosen}


class StudyFolder:
    """Reads and writes the folder of one study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def study_id(self) -> str:
        """The study's id, which is the name of its folder."""
        return self.folder.name

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.folder / "report"

    def locked(self) -> AbstractContextManager[None]:
        """Lock the study for this process. Raises CheckpointError when another process has the lock."""
        return locked_folder(self.folder)

    def write(self, state: StudyState) -> None:
        """Write study.json."""
        write_durably(self.folder / STUDY_JSON, json.dumps(asdict(state), indent=1, default=str).encode())

    def update(self, **changes: Any) -> StudyState:
        """Change entries of study.json, and return the new state."""
        state = replace(self.read(), **changes)
        self.write(state)
        return state

    def read(self) -> StudyState:
        """Read study.json. Raises CheckpointError when it is unreadable."""
        path = self.folder / STUDY_JSON
        try:
            content = json.loads(path.read_bytes())
            named = {
                name: tuple((setting, arm, values) for setting, arm, values in content.pop(name))
                for name in ("finalists", "chosen")
            }
            texts = {name: tuple(content.pop(name)) for name in ("settings", "finished")}
            return StudyState(**{**content, **named, **texts})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"cannot read {path} ({' '.join(str(error).split())}); restore the file, or start a new study"
            ) from error

    def plan(self, state: StudyState) -> StudyPlan:
        """Return the plan of the study in the folder."""
        return StudyPlan(
            name=state.name,
            study=read_study(self.folder / STUDY_YAML),
            scale=state.scale,
            num_seeds=state.num_seeds,
            data=Path(state.data),
            chosen_settings=state.settings,
        )

    def space_file(self, stage: Stage, name: str) -> Path:
        """Return the path of the search space of a stage. Its name becomes the first part of the sweep's id."""
        return self.folder / f"{name.replace('-', '_')}_{stage}.py"

    def sweep_folder(self, stage: Stage, state: StudyState) -> Path | None:
        """Return the folder of a stage's sweep; None when the sweep has not started.

        A process that was killed before it wrote the sweep's id left a sweep whose space is the stage's file.
        """
        storage, known = self.folder.parent, state.sweeps.get(stage)
        if known is not None:
            if is_sweep(storage / known):
                return storage / known
            raise CheckpointError(
                f"{storage / known} is not a sweep; restore the folder, or start a new study"
            )
        wanted = self.space_file(stage, state.name)
        for file in sorted(storage.glob(f"*/{SWEEP_FILE}")):
            if _space_of(file)[-2:] == (self.study_id, wanted.name):
                return file.parent
        return None


def find_study(name: str, storage: Path) -> Path:
    """Find a study by its folder, its id, or its name (the newest study of the name). Raises ConfigError."""
    for folder in (Path(name), storage / name):
        if (folder / STUDY_JSON).is_file():
            return folder.resolve()
    matches = [file.parent for file in storage.glob(f"*/{STUDY_JSON}") if _has_name(file, name)]
    if matches:
        return max(matches, key=lambda folder: folder.stat().st_ctime).resolve()
    problem = f"there is no study at this path, and none with this id or name in {storage}"
    remedy = "give the study's folder, or the storage folder with --storage DIR"
    raise ConfigError("STUDY", name, problem, remedy)


def _has_name(file: Path, name: str) -> bool:
    try:
        return bool(StudyFolder(file.parent).read().name == name)
    except CheckpointError:
        return False


def _space_of(file: Path) -> tuple[str, ...]:
    """Return the parts of the path of a sweep's space; empty for an unreadable file."""
    try:
        return Path(json.loads(file.read_bytes())["request"]["space"]).parts
    except (OSError, ValueError, KeyError, TypeError):
        return ()
