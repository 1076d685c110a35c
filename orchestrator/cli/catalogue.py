"""Writes docs/algorithms.md from the methods: `python -m orchestrator.cli.catalogue > docs/algorithms.md`."""

import re
import sys
from collections.abc import Iterator
from inspect import getdoc

from algorithms import ALGORITHMS
from orchestrator.citations.citation import Citation
from orchestrator.citations.markdown import link, reference
from orchestrator.config.errors import dotted_keys
from orchestrator.experiment.methods import load_algorithm
from orchestrator.federation.algorithm import AlgorithmType

_INTRODUCTION = """# Algorithms

A method and its options are keys of the config. This command trains FedDST. Its clients readjust their masks in
rounds 1, 2 and 3; with the default `algorithm.readjust_every=10` they do so in round 1 only:

```sh
sparsefleet run algorithm.name=feddst algorithm.readjust_every=1 algorithm.end_round=4 training.rounds=4 \\
  runtime.executor=inprocess tracking.enabled=false
```

```text
method  accuracy  personal  upload  download   training  emulated    wall
feddst    74.37%    74.24%  576 kB    631 kB  263 MFLOP   0.179 s  2.03 s
```

`algorithm.name` is a name of the table below. The section of a method lists its further keys.

`make catalogue` writes this page from the methods, and a test checks that the page is up to date.
[write-a-method.md](write-a-method.md) explains the contract of a method and how to write one.
[benchmarks.md](benchmarks.md) compares the methods by measurements. `sparsefleet cite` prints the publications of
methods as BibTeX:

```sh
sparsefleet cite feddst fedavg
```

- **scope**: who shares a mask: all clients (global), no clients (personal), or the clients of one kind of device.
- **structure**: the method removes single weights (unstructured), whole channels and neurons (structured), or entries
  of the update only.
- **when**: when the method chooses the mask.
- **density**: the share of weights in the model that a client trains; `sparsity.level` = 1 - density, with its default
  in brackets.
- **personal**: whether each client ends with a model of its own, which `personal/accuracy_*` evaluates. For FjORD,
  `personal/accuracy_*` evaluates the submodel of the client's device. For HeteroFL and FedRolex, it evaluates the
  global model without the classes that the client does not have (`algorithm.scored_model`). For all other methods, it
  evaluates the global model.
- **average**: how the server averages the updates; see [the four averages](#the-four-averages).
- **additional payload**: what clients and server send in addition to the values of the model.
- **source**: the publication of the method, or the publications that use it as a baseline.
"""

_AVERAGES = """## The four averages

A client trains the coordinates (entries of the model) inside its mask or submodel. The averages differ in the
coordinates that not all clients of a round trained. `orchestrator/federation/aggregate.py` gives the formulas.

| average | a coordinate that some clients trained | a coordinate that no client trained |
| --- | --- | --- |
| `wmean`, sample-weighted mean | the mean over all clients, where the others count as 0 | the server's value |
| `covmean`, coverage-weighted mean | the mean over the clients that trained it | the server's value |
| `dmean`, mean of differences | the server's value plus the mean change; the others count as no change | \
the server's value |
| `ipart`, intersection average | the server's value | the server's value |

The usual formula of `wmean` divides by the weight of all clients. It gives 0 to a coordinate that no client trained.
Sparsefleet keeps the server's value here, because a later mask may contain a coordinate that no mask of this round
contains. Afterwards a method may still change the coordinate: for example, FedDST prunes weights to the target density.
"""

_COLUMNS = (
    "name",
    "scope",
    "structure",
    "when",
    "density",
    "personal",
    "average",
    "additional payload",
    "source",
)


def algorithms_page() -> str:
    """Return the page as Markdown: a table of all methods, then a section per method with its text and options."""
    methods = {name: load_algorithm(name) for name in ALGORITHMS}
    lines = [_INTRODUCTION, _row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    lines += [_row(_cells(name, method)) for name, method in methods.items()]
    lines += ["", _AVERAGES.rstrip()]
    for name, method in methods.items():
        lines += ["", *_section(name, method)]
    return "\n".join(lines) + "\n"


def _cells(name: str, method: AlgorithmType) -> tuple[str, ...]:
    traits, default = method.traits, method.capabilities.default_density
    level = 0.0 if default is None else 1.0 - default
    density = f"{traits.density} ({level:g})" if level else traits.density
    if traits.structure == "update":
        density = f"1, of the update {traits.density} ({level:g})"
    personal = "yes" if traits.personal else "-"
    return (
        f"[`{name}`](#{name})",
        traits.scope,
        traits.structure,
        traits.when,
        density,
        personal,
        f"`{method.capabilities.aggregation}`",
        traits.payload,
        _source(method),
    )


def _source(method: AlgorithmType) -> str:
    """Return links to what the method is a baseline of, else to its publication."""
    traits = method.traits
    if traits.baseline_of:
        return f"baseline of {', '.join(map(link, traits.baseline_of))}"
    return ", ".join(map(link, traits.citations))


def _section(name: str, method: AlgorithmType) -> Iterator[str]:
    module = sys.modules[method.__module__]
    paragraphs = (getdoc(module) or "").split("\n\n")
    yield f"## {name}"
    traits = method.traits
    yield from _publications("Publication", traits.citations)
    yield from _publications("Baseline of", traits.baseline_of)
    yield from _publications("Related", traits.related)
    for paragraph in paragraphs:
        yield ""
        for item in re.split(r"\n(?=- )", paragraph):
            yield (
                " ".join(item.split())
                .replace("Symbols:", "**Symbols:**")
                .replace("Deviations", "**Deviations**", 1)
            )
    options = {
        key: d for key, d in dotted_keys(method.Config, "algorithm").items() if key != "algorithm.name"
    }
    if options:
        yield from ("", "| option | default | meaning |", "| --- | --- | --- |")
        yield from (_row((f"`{key}`", f"`{default}`", text)) for key, (text, default) in options.items())


def _publications(label: str, citations: tuple[Citation, ...]) -> Iterator[str]:
    if citations:
        yield ""
    yield from (f"- **{label}**: {reference(citation)}" for citation in citations)


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(algorithms_page())
