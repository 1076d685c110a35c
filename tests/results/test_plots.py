"""Lines of results on matplotlib axes."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from orchestrator.errors import RequestError
from orchestrator.results.plots import plot_rounds

FRAME = pd.DataFrame(
    {"eval/accuracy": [0.1, None, 0.3], "comm/upload_bytes_total": [10.0, 20.0, 30.0]},
    index=pd.Index([0, 1, 2], name="round"),
)


def test_a_line_has_the_measured_rounds() -> None:
    axes = plot_rounds({"a": FRAME}, "eval/accuracy", "round")
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 2], [0.1, 0.3])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_legend()) == ("round", "eval/accuracy", None)


def test_several_lines_on_given_axes_over_a_cost() -> None:
    axes = Figure().add_subplot()
    other = FRAME.drop(columns="comm/upload_bytes_total")
    found = plot_rounds(
        {"a": FRAME, "b": FRAME * 2, "c": other}, "eval/accuracy", "comm/upload_bytes_total", axes
    )
    assert found is axes
    assert [line.get_label() for line in axes.lines] == ["a", "b"], "c does not have the cost"
    assert list(axes.lines[1].get_xdata()) == [20.0, 60.0]
    assert axes.get_legend() is not None


@pytest.mark.parametrize(
    ("metric", "x", "field", "remedy"),
    [
        ("eval/acuracy", "round", "metric", "'eval/accuracy'"),
        ("round", "round", "metric", "eval/accuracy"),
        ("eval/accuracy", "rounds", "x", "'round'"),
    ],
)
def test_unknown_metric_is_rejected_with_a_suggestion(metric: str, x: str, field: str, remedy: str) -> None:
    with pytest.raises(RequestError) as caught:
        plot_rounds({"a": FRAME}, metric, x)
    assert caught.value.field == field
    assert remedy in caught.value.remedy
