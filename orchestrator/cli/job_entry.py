"""Entry point of a job on the cluster: run the command line with the signal handling of a terminal."""

import os
import sys

from orchestrator.cli.main import main
from orchestrator.cluster.variables import variables_in_file
from orchestrator.errors import SparsefleetError
from orchestrator.plugins.package_source import SOURCE_VARIABLE, PackageSource, require_same_source
from orchestrator.processes.signals import accept_all_signals

if __name__ == "__main__":
    try:
        os.environ.update(variables_in_file(os.environ))
        if digest := os.environ.get(SOURCE_VARIABLE):
            require_same_source(PackageSource("the uploaded package", digest))
    except SparsefleetError as error:
        sys.exit(f"error: {error}")
    # a Ray process ignores or blocks some signals, and its jobs inherit this setting
    accept_all_signals()
    main()
