"""The result of a comparison: its data frame and its plot."""

from pathlib import Path

import pytest

from orchestrator.analysis import CompareOptions, compare
from orchestrator.errors import RequestError
from orchestrator.results.comparison_result import ComparisonResult
from tests.support.run_folders import records, selected, write_run


@pytest.fixture
def comparison(tmp_path: Path) -> ComparisonResult:
    """FedDST reaches 0.75 with both seeds; FedAvg reaches 0.25 and 0.5."""
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", seed=seed, rounds=records(0.125, 0.25 + 0.25 * seed))
        write_run(tmp_path / f"b{seed}", method="feddst", seed=seed, rounds=records(0.25, 0.75))
    return ComparisonResult.from_comparison(compare(selected(tmp_path), CompareOptions()))


def test_frame_has_a_row_per_configuration_best_first(comparison: ComparisonResult) -> None:
    frame = comparison.to_dataframe()
    assert frame.index.tolist() == ["feddst", "fedavg"]
    assert frame["accuracy_mean"].tolist() == [0.75, 0.375]
    assert frame["upload_bytes_total_mean"].tolist() == [200.0, 200.0]
    assert frame["num_seeds"].tolist() == [2, 2]


def test_plot_has_the_mean_curves(comparison: ComparisonResult) -> None:
    lines = {str(line.get_label()): line for line in comparison.plot().lines}
    assert list(lines["fedavg"].get_ydata()) == [0.125, 0.375]
    assert list(comparison.plot(x="upload").lines[0].get_xdata()) == [100.0, 200.0]
    with pytest.raises(RequestError):
        comparison.plot(x="money")  # type: ignore[arg-type]


def test_texts_have_the_means(comparison: ComparisonResult) -> None:
    for text in (repr(comparison), comparison._repr_html_()):
        assert text.index("feddst") < text.index("fedavg")
        assert "0.375" in text
        assert "personal" not in text, "a column without values is left out"
