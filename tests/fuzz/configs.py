"""Load mutated config files: `python -m tests.fuzz.configs --mutants 2000`.

The files are resolved configs of several methods, with changed bytes, changed YAML tokens or changed values.

These results are findings:
- an error other than RequestError is raised, also a MemoryError within the bound on memory;
- the message of the error has several lines, or more than `LONGEST_LINE` characters;
- an accepted config cannot be written, or is another config after it was written and read again;
- a file takes more than `LONGEST_S` seconds of CPU time.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from orchestrator.config.overrides import parse_overrides
from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import load_config
from tests.fuzz.mutation import mutated
from tests.fuzz.tally import MIB, Tally, command

MORE_BYTES = 256 * MIB
LONGEST_S = 5.0
LONGEST_LINE = 2_000
_REPORT_EVERY = 100
_METHODS = ("fedavg", "fedprox", "feddst", "heterofl", "fedspa", "ssfl", "fedlps", "prunefl")
#: values that no key expects, as YAML
_STRANGE = (
    "null",
    "true",
    ".nan",
    "-.inf",
    "1e999",
    "-1",
    "0",
    "9" * 30,
    "9" * 6_000,
    "0x" + "f" * 6_000,
    "0b" + "1" * 400,
    "1:59:59",
    "1" + ":59" * 3_000,
    "1" + ":59" * 3_000 + ".5",
    "1_000",
    "2024-02-31",
    "2024-01-31",
    "0001-01-01T00:00:00+23:59",
    "2001-12-14t21:59:43.10-99:99",
    "'" + "x" * 50_000 + "'",
    '"\\0\\x1b[2J"',
    '"\\ud800"',
    '"\\u2028\\n"',
    "[]",
    "{}",
    "[1, [2, [3]]]",
    "{? [a, b] : c}",
    "{1: 2, null: 3, true: 4}",
    "[" * 500 + "]" * 500,
    "{a: " * 500 + "1" + "}" * 500,
    "!!binary aGVsbG8=",
    "!!binary ====",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!python/object/apply:os.getcwd []",
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!timestamp x",
    "!unknown 3",
    "*nobody",
    "&a [*a]",
    "&a {b: *a}",
    "{<<: *nobody}",
    "{<<: [1, 2]}",
    "{<<: {alpha: 1}, alpha: 2}",
    "{a: 1, a: 2}",
    "{a: 1, ? {b: 2} : 3}",
    "| \n  text",
    "%directive",
    "---",
    "...",
    "@",
    "`",
)


def fuzz(seed: int, num_mutants: int) -> Iterator[Tally]:
    """Try `num_mutants` files; yield the tally at intervals and at the end."""
    rng, tally = np.random.default_rng([seed, 3]), Tally()
    texts = [_dump(ExperimentConfig.parse({"algorithm": {"name": name}}).to_dict()) for name in _METHODS]
    with TemporaryDirectory() as name:
        file = Path(name) / "experiment.yaml"
        yield tally
        for number in range(1, num_mutants + 1):
            content = mutant(rng, texts)
            file.write_bytes(content)
            tally.outcomes[outcome(tally, file, f"seed {seed}, file {number}")] += 1
            try_override(tally, content[:400])
            if number % _REPORT_EVERY == 0:
                yield tally
    yield tally


def outcome(tally: Tally, file: Path, what: str) -> str:
    """Load a file, and return the name of the outcome."""
    started_s = time.process_time()
    try:
        config = load_config([file], [])
    except RequestError as error:
        line = str(error)
        if len(line.splitlines()) != 1 or len(line) > LONGEST_LINE:
            return tally.found(f"no clear line ({len(line):,} characters, {line[:200]!r}): {what}")
        result = "rejected"
    except BaseException as error:
        return tally.found(f"{type(error).__name__}: {str(error)[:200]}: {what}")
    else:
        result = _read_again(tally, config, file, what)
    if (took_s := time.process_time() - started_s) > LONGEST_S:
        return tally.found(f"{took_s:.1f} s: {what}")
    return result


def try_override(tally: Tally, content: bytes) -> None:
    """Parse the beginning of a file as the value of an override on the command line."""
    try:
        parse_overrides([f"a.b={content.decode('utf-8', 'replace')}"])
    except RequestError:
        pass
    except BaseException as error:
        tally.found(f"{type(error).__name__}: {str(error)[:200]} for the override {content!r}")


def _read_again(tally: Tally, config: ExperimentConfig, file: Path, what: str) -> str:
    try:
        file.write_text(_dump(config.to_dict()), encoding="utf-8")
        again = load_config([file], [])
    except BaseException as error:
        return tally.found(f"valid, but cannot be read again ({type(error).__name__}: {error}): {what}")
    return "valid" if again == config else tally.found(f"valid, but read again as another: {what}")


def mutant(rng: np.random.Generator, texts: Sequence[str]) -> bytes:
    """Return the content of a mutated file."""
    text = texts[int(rng.integers(len(texts)))]
    kinds: Sequence[Callable[[np.random.Generator, str, Sequence[str]], bytes]] = (
        _as_bytes,
        _as_bytes,
        _with_strange_values,
        _with_strange_values,
        _with_strange_values,
        _with_lines_moved,
        _restyled,
        _restyled,
        _restyled,
        _bomb,
        _large,
        _with_another_encoding,
    )
    return kinds[int(rng.integers(len(kinds)))](rng, text, texts)


def _as_bytes(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    return mutated(rng, text.encode(), [other.encode() for other in texts])


def _with_strange_values(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    lines = text.splitlines()
    for _ in range(int(rng.integers(1, 3))):
        place = int(rng.integers(len(lines)))
        key = lines[place].partition(":")[0]
        lines[place] = f"{key}: {_STRANGE[int(rng.integers(len(_STRANGE)))]}"
    return "\n".join(lines).encode()


def _with_lines_moved(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    """Duplicate, move, indent or delete lines."""
    lines = text.splitlines()
    for _ in range(int(rng.integers(1, 4))):
        line = lines[int(rng.integers(len(lines)))]
        place = int(rng.integers(len(lines)))
        match int(rng.integers(4)):
            case 0:
                lines.insert(place, line)
            case 1:
                lines[place] = line
            case 2:
                lines[place] = "  " + lines[place]
            case _:
                del lines[place]
    return "\n".join(lines).encode()


def _restyled(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    """Write the YAML in another style with some changed numbers; the file is often still valid."""
    tree = yaml.safe_load(text)
    sections = [tree, *(section for section in tree.values() if isinstance(section, dict))]
    for _ in range(int(rng.integers(4))):
        section = sections[int(rng.integers(len(sections)))]
        numbers = [key for key, value in section.items() if type(value) in (int, float)]
        if numbers:
            key = numbers[int(rng.integers(len(numbers)))]
            factor = rng.choice([-1, 0, 0.5, 2, 3, 1e3, 2**40])
            section[key] = type(section[key])(section[key] * factor) if rng.random() < 0.8 else factor.item()
    flow, style = (True, False, None)[int(rng.integers(3))], (None, None, '"', "'")[int(rng.integers(4))]
    return yaml.safe_dump(
        tree,
        encoding="utf-8",
        width=int(rng.integers(10, 200)),
        canonical=bool(rng.random() < 0.1),
        default_flow_style=flow,
        default_style=style,
    )


def _bomb(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    """Nest aliases in lists, mappings or merge keys, so that the values multiply with each level."""
    levels, width = int(rng.integers(1, 40)), int(rng.integers(2, 12))
    form = ("[{}]", "{{{}}}", "{{<<: [{}]}}")[int(rng.integers(3))]
    lines = ["a0: &a0 {x: 1}" if "<<" in form else "a0: &a0 [x]"]
    for level in range(1, levels):
        aliases = [f"*a{level - 1}"] * width
        inner = (f"k{i}: {alias}" for i, alias in enumerate(aliases)) if form == "{{{}}}" else aliases
        lines.append(f"a{level}: &a{level} " + form.format(", ".join(inner)))
    return "\n".join([*lines, text]).encode()


def _large(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    """Insert many copies of one token."""
    unit = (" ", "\n", "-", "- ", "[", "{", "a: ", "? ", "!", "&a ", "'", '"', "#", "1", "é", ": ", "|", "\t")
    filler = unit[int(rng.integers(len(unit)))] * int(10 ** rng.uniform(2, 6))
    place = int(rng.integers(len(text) + 1))
    return (text[:place] + filler + text[place:]).encode()


def _with_another_encoding(rng: np.random.Generator, text: str, texts: Sequence[str]) -> bytes:
    encoding = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp037")[int(rng.integers(5))]
    return ("# größe\n" + text).encode(encoding)


def _dump(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    sys.exit(command("configs", "--mutants", 2_000, fuzz, MORE_BYTES))
