"""The style sheet and the script of the HTML page. The page loads nothing else."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1160px;
  margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 8px; }
h3 { font-size: 14px; margin: 0 0 2px; }
p.lead, p.caption { color: #666; margin: 4px 0 12px; }
p.caption { font-size: 13px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: right; border-bottom: 2px solid #999; padding: 5px 10px; white-space: nowrap; }
table.sortable th { cursor: pointer; }
th[data-order]::after { content: " \\2193"; }
th[data-order="up"]::after { content: " \\2191"; }
td { text-align: right; border-bottom: 1px solid #e6e6e6; padding: 5px 10px; white-space: nowrap; }
td.bar { background: linear-gradient(to left, #8fb8de var(--share), transparent var(--share)) no-repeat;
  background-size: 100% 3px; background-position: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
tbody tr:hover, tr.on { background-color: #f2f5f9; }
ul.notes { background: #fff8e5; border-left: 3px solid #e0a800; margin: 12px 0; padding: 8px 8px 8px 28px;
  font-size: 14px; }
nav { position: sticky; top: 0; z-index: 2; background: #fffffff2; border-bottom: 1px solid #ddd; padding: 6px 0; }
nav div { display: flex; flex-wrap: wrap; gap: 1px 4px; align-items: center; max-height: 132px; overflow-y: auto; }
nav button { font: 12px/1.4 system-ui, sans-serif; border: 1px solid transparent; border-radius: 4px;
  background: none; padding: 1px 5px; cursor: pointer; color: #222; }
nav button.group { font-weight: 600; }
nav button:hover, nav button.on { background: #eef2f7; }
nav button.kept { border-color: #888; }
input[type=search] { font: 14px system-ui, sans-serif; padding: 4px 8px; width: 320px; border: 1px solid #bbb;
  border-radius: 4px; margin: 0 0 8px; }
svg.swatch { width: 30px; height: 14px; vertical-align: -2px; margin-right: 3px; }
svg.chart { width: 100%; height: auto; display: block; }
.grid { stroke: #ebebeb; fill: none; } .axis { stroke: #999; fill: none; }
.tick { font-size: 11.5px; fill: #666; } .title { font-size: 12.5px; fill: #333; }
.ylabel { display: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .thin { stroke-width: 1; }
.band { opacity: 0.13; stroke: none; } .box { opacity: 0.35; } .error { fill: none; stroke-width: 1.5; opacity: 0.6; }
.leader { fill: none; stroke-width: 0.7; opacity: 0.5; } .front { fill: none; stroke: #888; stroke-dasharray: 5 3; }
.label { font-size: 12px; } .halo { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.m { stroke: #fff; stroke-width: 0.7; }
body.dim .s:not(.on) { opacity: 0.12; }
.s.hidden, tr.hidden { display: none; }
div.multiples { display: grid; grid-template-columns: repeat(3, 1fr); gap: 14px; }
div.scale button { font: 12px system-ui, sans-serif; }
div.linear { display: none; }
code { font-size: 12px; white-space: pre-wrap; word-break: break-word; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; }
  nav { position: static; } nav div { max-height: none; overflow: visible; }
  input, div.scale { display: none; }
  svg.chart, div.multiples > div, tr { break-inside: avoid; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SCRIPT = """
(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const kept = new Set();
  const isOf = (element, ranks) => (element.dataset.i || "").split(" ").some(rank => ranks.has(rank));
  function highlight(ranks) {
    document.body.classList.toggle("dim", ranks.size > 0);
    all("[data-i]").forEach(element => element.classList.toggle("on", ranks.size > 0 && isOf(element, ranks)));
  }
  function update() {
    const words = document.querySelector("input[type=search]").value.toLowerCase().split(/\\s+/).filter(Boolean);
    const found = new Set(all("#results tbody tr").filter(row => words.every(
      word => row.cells[0].textContent.toLowerCase().includes(word))).map(row => row.dataset.i));
    const shown = rank => found.has(rank) && (kept.size === 0 || kept.has(rank));
    all(".s, tr[data-i]").forEach(element => element.classList.toggle("hidden", !shown(element.dataset.i)));
    all("nav button").forEach(button => button.classList.toggle("kept", kept.size > 0 && isOf(button, kept)));
  }
  all("[data-i]").forEach(element => {
    const ranks = new Set(element.dataset.i.split(" "));
    element.addEventListener("mouseenter", () => highlight(ranks));
    element.addEventListener("mouseleave", () => highlight(new Set()));
    if (element.tagName !== "BUTTON") return;
    element.addEventListener("click", event => {
      const same = kept.size === ranks.size && [...ranks].every(rank => kept.has(rank));
      if (!event.shiftKey) kept.clear();
      if (!same) ranks.forEach(rank => kept.add(rank));
      update();
    });
  });
  document.querySelector("input[type=search]").addEventListener("input", update);
  all("table.sortable th").forEach((head, column) => head.addEventListener("click", () => {
    const index = head.cellIndex, body = head.closest("table").tBodies[0];
    const value = row => {
      const given = row.cells[index].dataset.v;
      return given === undefined ? row.cells[index].textContent : given === "" ? -Infinity : Number(given);
    };
    const up = head.dataset.order === "down";
    const areNumbers = (a, b) => typeof a === "number" && typeof b === "number";
    const compare = (a, b) => areNumbers(a, b) ? a - b : String(a).localeCompare(String(b));
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a), value(b)));
    [...head.parentElement.cells].forEach(cell => delete cell.dataset.order);
    head.dataset.order = up ? "up" : "down";
    body.append(...rows);
  }));
  all("div.scale button").forEach(button => button.addEventListener("click", () => {
    const section = button.closest("section"), linear = button.textContent === "linear";
    section.querySelector("div.linear").style.display = linear ? "block" : "none";
    section.querySelector("div.log").style.display = linear ? "none" : "block";
  }));
})();
"""
