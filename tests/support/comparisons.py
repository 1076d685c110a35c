"""Comparisons, charts and reports for tests, with numbers that a reader can check by hand."""

from pathlib import Path

from orchestrator.analysis import CompareOptions, Comparison, compare, write_report
from orchestrator.analysis.report.charts import Chart, Series
from orchestrator.analysis.report.styles import COLORS, Look
from tests.support.run_folders import record, records, selected, write_run

#: a method whose name must be escaped in HTML
HOSTILE = '<script>alert("x")</script> & "more"'


def comparison_of_three_methods(storage: Path) -> Comparison:
    """Final accuracies and uploads: feddst 0.7 (6 MB) and 0.8 (8 MB), fedavg 0.5 (4 MB), topk 0.6 (9 MB)."""
    for seed, final in enumerate((0.7, 0.8)):
        rounds = records(0.4, final, bytes_a_round=1e6 * (3 + seed))
        write_run(storage / f"feddst-{seed}", method="feddst", seed=seed, rounds=rounds)
    write_run(storage / "fedavg", rounds=records(0.25, 0.5, bytes_a_round=2e6))
    write_run(storage / "topk", method="topk", rounds=records(0.25, 0.6, bytes_a_round=4.5e6))
    return compare(selected(storage))


def comparison_with_baseline(storage: Path) -> Comparison:
    """fedavg with seeds 0 and 1; feddst, better and more expensive, with seeds 1 and 2; topk with seed 9."""
    for seed, final in ((0, 0.50), (1, 0.52)):
        write_run(storage / f"fedavg-{seed}", seed=seed, rounds=records(0.25, final))
    for seed, final in ((1, 0.62), (2, 0.64)):
        rounds = records(0.3, final, bytes_a_round=1e6)
        write_run(storage / f"feddst-{seed}", method="feddst", seed=seed, rounds=rounds)
    write_run(storage / "topk-9", method="topk", seed=9, rounds=[record(0, 0.1, personal=0.2)])
    options = CompareOptions(baseline="fedavg", upload_caps=[1e6], targets=[0.51, 0.6])
    return compare(selected(storage), options)


def report_with_hostile_name(storage: Path) -> tuple[Comparison, list[Path]]:
    """Two seeds of the method `HOSTILE`, and one of fedavg; the report goes to a folder that does not exist yet."""
    for seed in range(2):
        rounds = records(0.25, 0.5 + 0.1 * seed)
        write_run(storage / f"a{seed}", method=HOSTILE, seed=seed, rounds=rounds)
    write_run(storage / "b", rounds=records(0.25, 0.5), interrupted=True)
    comparison = compare(selected(storage), CompareOptions(baseline="fedavg"), [HOSTILE])
    return comparison, write_report(comparison, storage / "not" / "yet")


def series(rank: int = 0, x: tuple[float, ...] = (1.0, 2.0), y: tuple[float, ...] = (0.5, 0.6)) -> Series:
    """Return a series without intervals."""
    look = Look(group="a family", color=COLORS[rank % len(COLORS)], marker="o", dashes=())
    return Series(
        label=f"m{rank}", rank=rank, look=look, x=x, y=y, low=(), high=(), rounds=tuple(range(len(x)))
    )


def chart(*drawn: Series, front: tuple[tuple[float, float], ...] | None = None) -> Chart:
    """Return a linear chart of these series."""
    return Chart(
        title="t", x_label="x", y_label="y", log_x=False, series=drawn, front=front, note="some are grey"
    )
