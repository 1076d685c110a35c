"""Writes docs/algorithms.md from the methods: `python -m orchestrator.cli.catalogue > docs/algorithms.md`."""

import sys
from collections.abc import Iterator
from inspect import getdoc

from algorithms import ALGORITHMS, load_algorithm
from orchestrator.config.errors import dotted_keys
from orchestrator.federation.algorithm import AlgorithmType

_INTRODUCTION = """# Algorithms

Made by `make catalogue` from the methods themselves; a test holds the two together. What a method must keep to, and how
to write one, is in [write-a-method.md](write-a-method.md); how methods compare, as measured, in
[benchmarks.md](benchmarks.md).

- **scope**: whose mask it is: one for all (global), each client's own (personal), or what its device can hold.
- **structure**: single weights (unstructured), whole channels and neurons (structured), or only the update is sparse.
- **when** the mask is chosen; **density** of the model that a client trains (`sparsity.level` = 1 - density, the
  default in brackets).
- **personal**: each client ends with a model of its own, which `personal/accuracy_*` scores. The clients of a
  structured method are scored with the submodel that their device holds, of the others with the global model.
- **average**: which of the four averages the server takes (see `orchestrator/federation/aggregate.py`).
- **beside the values**: what travels other than the model's values.
"""

_COLUMNS = (
    "name",
    "scope",
    "structure",
    "when",
    "density",
    "personal",
    "average",
    "beside the values",
    "source",
)


def algorithms_page() -> str:
    """The page as Markdown: a table of all methods, then each one's description, deviations and options."""
    methods = {name: load_algorithm(name) for name in ALGORITHMS}
    lines = [_INTRODUCTION, _row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    lines += [_row(_cells(name, method)) for name, method in methods.items()]
    for name, method in methods.items():
        lines += ["", *_section(name, method)]
    return "\n".join(lines) + "\n"


def _cells(name: str, method: AlgorithmType) -> tuple[str, ...]:
    traits = method.traits
    density = f"{traits.density} ({method.default_level:g})" if method.default_level else traits.density
    if traits.structure == "update":
        density = f"1, of the update {traits.density} ({method.default_level:g})"
    personal = "yes" if traits.personal else "-"
    return (
        f"[`{name}`](#{name})",
        traits.scope,
        traits.structure,
        traits.when,
        density,
        personal,
        f"`{method.aggregation}`",
        traits.payload,
        traits.source,
    )


def _section(name: str, method: AlgorithmType) -> Iterator[str]:
    module = sys.modules[method.__module__]
    paragraphs = (getdoc(module) or "").split("\n\n")
    yield f"## {name}"
    for paragraph in paragraphs:
        yield ""
        yield (
            " ".join(paragraph.split())
            .replace("Symbols:", "**Symbols:**")
            .replace("Deviations", "**Deviations**", 1)
        )
    options = {
        key: d for key, d in dotted_keys(method.Config, "algorithm").items() if key != "algorithm.name"
    }
    if options:
        yield from ("", "| option | default | meaning |", "| --- | --- | --- |")
        yield from (_row((f"`{key}`", f"`{default}`", text)) for key, (text, default) in options.items())


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(algorithms_page())
