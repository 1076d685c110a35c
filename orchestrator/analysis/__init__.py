"""Compares runs: accuracy against bytes, FLOPs and emulated time, with confidence intervals over seeds."""

from orchestrator.analysis.comparison import Comparison, ComparisonRow, TargetCost
from orchestrator.analysis.compute import compare
from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.options import CompareOptions
from orchestrator.analysis.report.export import to_csv, to_json
from orchestrator.analysis.report.terminal import terminal_tables
from orchestrator.analysis.report.write import write_report
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.selection import SelectedRuns, select_runs
from orchestrator.analysis.statistics import Spread

__all__ = [
    "CompareOptions",
    "ComparedRun",
    "Comparison",
    "ComparisonRow",
    "Configuration",
    "SelectedRuns",
    "Spread",
    "TargetCost",
    "compare",
    "select_runs",
    "terminal_tables",
    "to_csv",
    "to_json",
    "write_report",
]
