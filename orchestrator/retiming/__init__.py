"""Computes the emulated time that a finished run would have taken on another fleet, from its logged bytes and FLOPs."""

from orchestrator.retiming.report import print_report, write_csv
from orchestrator.retiming.retime import RetimedRound, RetimedRun, retime

__all__ = ["RetimedRound", "RetimedRun", "print_report", "retime", "write_csv"]
