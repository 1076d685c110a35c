"""The complete experiment config, its checks, and the experiment that is prepared from it."""

from orchestrator.plugins.own_packages import import_own_package

import_own_package("algorithms", "ALGORITHMS")
