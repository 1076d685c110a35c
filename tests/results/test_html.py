"""HTML tables of results."""

from orchestrator.results.html import html_table


def test_cells_are_escaped_and_in_order() -> None:
    html = html_table("a < b", ("x", "&"), [("1", "<script>"), ("2", "3")])
    assert html == (
        "<p><b>a &lt; b</b></p><table><thead><tr><th>x</th><th>&amp;</th></tr></thead><tbody>"
        "<tr><td>1</td><td>&lt;script&gt;</td></tr><tr><td>2</td><td>3</td></tr></tbody></table>"
    )
