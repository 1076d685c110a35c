"""Sweeps: Ray Tune runs the trials of a search space, and every trial is a run with its own folder.

Only the package `tune` imports Ray Tune's runner; the other modules use Tune's search-space types at most.
"""

from orchestrator.plugins.own_packages import import_own_package

import_own_package("search_spaces", "SPACES")
