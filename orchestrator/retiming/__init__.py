"""The time axis that a run would have had on other devices, computed from what its clients sent and trained."""

from orchestrator.retiming.report import print_report, write_csv
from orchestrator.retiming.retime import RetimedRound, Retiming, retime

__all__ = ["RetimedRound", "Retiming", "print_report", "retime", "write_csv"]
