"""What every method must hold to, as checks of one's own method.

>>> CHECKS["deterministic"](contract_experiment("fedper.py:FedPer"))    # doctest: +SKIP
"""

from orchestrator.contract.checks import CHECKS, Check
from orchestrator.contract.experiment import contract_experiment

__all__ = ["CHECKS", "Check", "contract_experiment"]
