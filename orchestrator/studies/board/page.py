"""Writes the board as one static HTML page, whose table a reader sorts and filters without a network."""

from collections.abc import Sequence
from html import escape

from orchestrator.analysis.pareto import pareto_front
from orchestrator.studies.board.cells import cost_cell, is_shown, outcome_cell
from orchestrator.studies.board.stored import Row, StoredResults

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
p, label { color: #444; }
input { font: inherit; padding: 3px 6px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid #e6e6e6; vertical-align: top; }
th { border-bottom: 2px solid #999; cursor: pointer; white-space: nowrap; }
th[aria-sort=ascending]::after { content: " \\2191"; }
th[aria-sort=descending]::after { content: " \\2193"; }
code { font-size: 12px; }
"""
_SCRIPT = """
const table = document.querySelector("table"), body = table.tBodies[0], box = document.querySelector("input");
const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
table.tHead.addEventListener("click", event => {
  const head = event.target.closest("th");
  if (!head) return;
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1, column = head.cellIndex;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const compare = new Intl.Collator("en", {numeric: false}).compare;
  const order = (a, b) => {
    const x = key(a, column), y = key(b, column), m = parseFloat(x), n = parseFloat(y);
    return sign * (isNaN(m) || isNaN(n) ? compare(x, y) : m - n);
  };
  body.append(...[...body.rows].sort(order));
});
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(" ");
  for (const row of body.rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
});
"""
_HEADINGS = (
    "study",
    "data",
    "setting",
    "method",
    "arm",
    "sparsity",
    "measure",
    "mean",
    "n",
    "upload",
    "training",
    "emulated",
    "front",
    "command",
)


def board_page(stored: StoredResults) -> str:
    """Return the page. `front` marks the arms on the Pareto front of a setting's accuracy and upload."""
    rows = [row for row in stored.outcomes if is_shown(row)]
    front = _on_front(rows)
    head = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    body = "\n".join(_table_row(row, idx in front) for idx, row in enumerate(rows))
    lead = (
        "Means over n seeds ± half of the 95 % t interval, in %. Click a heading to sort; type words to filter."
        if rows
        else "No study has stored results yet."
    )
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">',
            f"<title>Sparsefleet: results of the studies</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>Results of the studies</h1>\n<p>{lead}</p>",
            '<p><label>filter <input type="search" aria-label="filter"></label></p>',
            f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>',
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _on_front(rows: Sequence[Row]) -> set[int]:
    """Return the positions of the rows on the front of their study, scale, setting, measure and place."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for idx, row in enumerate(rows):
        if row["upload_bytes"]:
            key = tuple(row[name] for name in ("study", "scale", "setting", "measure", "at"))
            groups.setdefault(key, []).append(idx)
    found: set[int] = set()
    for group in groups.values():
        points = [(float(rows[idx]["upload_bytes"]), float(rows[idx]["mean"])) for idx in group]
        found |= {group[position] for position in pareto_front(points)}
    return found


def _table_row(row: Row, on_front: bool) -> str:
    measure = row["measure"] if row["at"] == "end" else f"{row['measure']} at the upload cap"
    cells = (
        (f"{row['study']} ({row['scale']})", None),
        (row["data"], None),
        (row["setting"], None),
        (row["method"], None),
        (row["label"], None),
        (row["sparsity"], row["sparsity"]),
        (measure, None),
        (outcome_cell(row), row["mean"]),
        (row["num_seeds"], row["num_seeds"]),
        *((cost_cell(row, name), row[name]) for name in ("upload_bytes", "train_flops", "emulated_s")),
        ("*" if on_front else "", None),
    )
    texts = [
        f"<td>{escape(text)}</td>"
        if value is None
        else f'<td data-value="{escape(value)}">{escape(text)}</td>'
        for text, value in cells
    ]
    return f"<tr>{''.join(texts)}<td><code>{escape(row['command'])}</code></td></tr>"
