"""Writes docs/results.md from the stored results."""

from collections.abc import Iterator, Sequence

from orchestrator.studies.board.cells import cost_cell, is_shown, outcome_cell
from orchestrator.studies.board.stored import Row, StoredResults
from orchestrator.studies.library import read_study, study_names, study_path
from orchestrator.studies.schema import Study

_INTRODUCTION = """# Results of the studies

This command examines the claims of one study and writes its report:

```
sparsefleet reproduce fedspa-personal --data data
```

[Studies](studies.md) explains the protocol and how a verdict is made. `python -m orchestrator.studies.board` writes
this page, and the same outcomes as a sortable table in `docs/board/index.html`, from the CSV files in `docs/results`.

- Accuracies are in %, with half of the 95 % t interval over the seeds. They are compared with each other, and never
  with the literature.
- A claim without stored results has the verdict "not run".
"""


def results_page(stored: StoredResults) -> str:
    """Return the page: the verdicts on all claims of the built-in studies, then the outcomes of each study."""
    return "\n".join(_lines(stored)) + "\n"


def _lines(stored: StoredResults) -> Iterator[str]:
    yield from (_INTRODUCTION.rstrip(), "")
    for name in study_names():
        study = read_study(study_path(name))
        yield from (f"## {study.title}", "", f"`{name}`: {study.question}", "")
        yield from _verdict_lines(name, study, stored.verdicts)
        yield from _outcome_lines([row for row in stored.outcomes if row["study"] == name and is_shown(row)])


def _verdict_lines(name: str, study: Study, verdicts: Sequence[Row]) -> Iterator[str]:
    own = [row for row in verdicts if row["study"] == name]
    if not study.claims:
        return
    yield from (_row(("claim", "published", "measured", "verdict")), _row(["---"] * 4))
    for claim, content in study.claims.items():
        published = f"{content.published} ({content.source})"
        found = [row for row in own if row["claim"] == claim]
        for row in found:
            verdict = f"{row['verdict']} ({row['scale']}, {row['num_seeds']} seeds)"
            yield _row((content.text, published, row["measured"], verdict))
        if not found:
            yield _row((content.text, published, "–", "not run"))
    yield ""


def _outcome_lines(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    headings = (
        "setting",
        "arm",
        "method",
        "sparsity",
        "measure",
        "n",
        "mean",
        "upload",
        "training",
        "emulated",
    )
    yield from (_row(headings), _row(["---"] * len(headings)))
    for row in rows:
        costs = [cost_cell(row, column) for column in ("upload_bytes", "train_flops", "emulated_s")]
        measure = row["measure"] if row["at"] == "end" else f"{row['measure']} at the upload cap"
        names = (f"{row['setting']} ({row['scale']})", row["label"], row["method"], row["sparsity"], measure)
        yield _row((*names, row["num_seeds"], outcome_cell(row), *costs))
    commands = dict.fromkeys(row["command"] for row in rows)
    yield from ("", "Commands:", "", "```", *commands, "```", "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
