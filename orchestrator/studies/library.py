"""Finds study files by name or path, and parses them."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.config.yaml import load_yaml
from orchestrator.errors import RequestError
from orchestrator.studies.schema import Study
from orchestrator.suggest import suggest

_FOLDER = Path(__file__).parent / "files"


def study_names() -> list[str]:
    """Return the names of the built-in studies, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def study_path(spec: str) -> Path:
    """Return the file of a built-in study, or of a path that ends with .yaml. Raises RequestError."""
    if spec.endswith((".yaml", ".yml")):
        path = Path(spec).expanduser()
        if not path.is_file():
            raise RequestError("STUDY", spec, "there is no such file", "correct the path")
        return path
    if spec not in study_names():
        remedy = suggest(spec, study_names(), f"choose one of {', '.join(study_names())}, or a .yaml file")
        raise RequestError("STUDY", spec, "there is no such study", remedy)
    return _FOLDER / f"{spec}.yaml"


def read_study(path: Path) -> Study:
    """Parse a study file. Raises RequestError with the first invalid key, its value, the problem and the remedy."""
    try:
        content = load_yaml(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise RequestError(
            "STUDY", path, f"the file cannot be read ({problem})", "correct the file"
        ) from error
    if not isinstance(content, dict):
        raise RequestError("STUDY", path, "the file does not contain a mapping", "see docs/studies.md")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "study"
        problem = first["msg"].removeprefix("Value error, ")
        value = _shown(first["input"]) if first["loc"] else path.name
        raise RequestError(
            where, value, problem, f"correct {path.name}; docs/studies.md explains the keys"
        ) from error


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
