"""Stores the users' files that a run or sweep uses, in the folder `sources`, and finds later changes.

run.json and sweep.json describe the files under the key `sources`: for each label the path as the config names it, the
absolute path, and the SHA-256 of each file. A label starts with the section of the config, such as `algorithm`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.atomic_write import explained_write, write_durably
from orchestrator.errors import ConfigError
from orchestrator.experiment.own_parts.sources import key_of
from orchestrator.plugins.source_files import SourceFiles

#: key of run.json and sweep.json, and name of the folder
SOURCES = "sources"
#: larger files, such as long traces, are not copied
MAX_COPY_BYTES = 10_000_000
_REPLACED = "replaced_sources"


def store_sources(folder: Path, sources: Mapping[str, SourceFiles]) -> dict[str, Any]:
    """Copy users' files into the folder of a run or sweep, and return what run.json or sweep.json says about them."""
    for label, source in sources.items():
        for name, content in source.files.items():
            if len(content) <= MAX_COPY_BYTES:
                path = folder / SOURCES / label / name
                with explained_write(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(path, content)
    return {
        label: {"named": source.named, "path": str(source.path), "sha256": source.digests}
        for label, source in sources.items()
    }


def stored_places(folder: Path, about: Mapping[str, Any]) -> dict[str, Path]:
    """Return where the users' files of a run or sweep are, by the path that its config names.

    A file is at the place from which the run was started, else at this path in the current folder, else in the folder
    of the run or sweep itself.
    """
    places = {}
    for label, entry in _described(about):
        original, named = Path(entry["path"]), Path(entry["named"])
        copy = folder.resolve() / SOURCES / label / original.name
        found = next((path for path in (original, named, copy) if path.is_file()), None)
        if found is not None:
            places[entry["named"]] = found.resolve()
    return places


def copies_in_use(folder: Path, places: Mapping[str, Path]) -> list[str]:
    """Return a line for each file in `places` of which only the copy in the run's own folder is left."""
    copies = folder.resolve() / SOURCES
    return [
        f"{named} no longer exists; its copy {place} is used"
        for named, place in places.items()
        if place.is_relative_to(copies)
    ]


def unknown_sources(about: Mapping[str, Any], sources: Mapping[str, SourceFiles]) -> list[str]:
    """Return a line for each file of code that a run of an earlier release uses without having stored it."""
    if SOURCES in about:
        return []
    return [
        f"the run has no copy of {source.named}, so it is not known whether this file has changed"
        for source in sources.values()
        if source.path.suffix == ".py"
    ]


def require_unchanged(folder: Path, about: Mapping[str, Any], sources: Mapping[str, SourceFiles]) -> None:
    """Raise ConfigError, which names the files, when code in `sources` differs from the code that the folder stores.

    The function does not compare fleets, because the fingerprint covers their content.
    """
    present = {source.named: source for source in sources.values() if source.path.suffix == ".py"}
    for label, entry in _described(about):
        if entry["named"] not in present:
            continue
        now, before = present[entry["named"]].digests, entry["sha256"]
        if changed := sorted(name for name in {**before, **now} if before.get(name) != now.get(name)):
            copies = folder / SOURCES / label
            raise ConfigError(
                key_of(label),
                entry["named"],
                f"the code has changed since the start, in {', '.join(changed)} (the code of the start is in {copies})",
                "restore the files, or accept the new code with --accept-changed-code",
            )


def updated_sources(
    folder: Path, about: Mapping[str, Any], sources: Mapping[str, SourceFiles], num_rounds: int
) -> dict[str, Any]:
    """Store the present code if it differs from the stored code, and return the new description.

    The earlier code stays in `sources-replaced-N`. The description says after how many rounds the run changed it.
    """
    described = {label: entry["sha256"] for label, entry in _described(about)}
    if described == {label: source.digests for label, source in sources.items()}:
        return dict(about)
    replaced = list(about.get(_REPLACED, []))
    if described:
        name = f"{SOURCES}-replaced-{len(replaced) + 1}"
        if (folder / SOURCES).is_dir():
            (folder / SOURCES).rename(folder / name)
        replaced.append({"folder": name, "num_rounds": num_rounds})
    return {
        **about,
        SOURCES: store_sources(folder, sources),
        **({_REPLACED: replaced} if replaced else {}),
    }


def _described(about: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield label and description of all stored files; nothing for a run of an earlier release."""
    sources = about.get(SOURCES, {})
    for label, entry in sources.items() if isinstance(sources, dict) else ():
        if isinstance(entry, dict) and {"named", "path", "sha256"} <= entry.keys():
            yield label, entry
