"""The public names for tests of methods: checks of the rules that every method must follow.

>>> CHECKS["deterministic"](contract_experiment("fedper.py:FedPer"))    # doctest: +SKIP
"""

from orchestrator.contract.checks import CHECKS, Check
from orchestrator.contract.experiment import contract_experiment

__all__ = ["CHECKS", "Check", "contract_experiment"]
