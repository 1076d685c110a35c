"""Computes the emulated time that a finished run would have taken on another fleet, from its logged bytes and FLOPs."""

from orchestrator.retiming.report import csv_text, print_report, write_csv
from orchestrator.retiming.retime import RetimedRound, RetimedRun, retime

__all__ = ["RetimedRound", "RetimedRun", "csv_text", "print_report", "retime", "write_csv"]
