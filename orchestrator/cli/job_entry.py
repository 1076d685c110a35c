"""Entry point of a job on the cluster: run the command line with the signal handling of a terminal."""

import os
import sys

from orchestrator.cluster.shipping import enter_files
from orchestrator.cluster.variables import KEY_VARIABLE, variables_in_file
from orchestrator.errors import SparsefleetError
from orchestrator.plugins.package_source import SOURCE_VARIABLE, PackageSource, require_same_source
from orchestrator.processes.signals import accept_all_signals


def _prepare() -> None:
    """Set the variables of the job, compare its source with the uploaded source, and change to the user's files."""
    if KEY_VARIABLE in os.environ:
        from orchestrator.cluster.ray_job_process import variables_of_job

        os.environ.update(variables_of_job(os.environ))
    os.environ.update(variables_in_file(os.environ))
    if digest := os.environ.get(SOURCE_VARIABLE):
        require_same_source(PackageSource("the uploaded package", digest))
    enter_files()


def _clean_up() -> None:
    """Delete the variables of the job from the memory of the head."""
    if KEY_VARIABLE in os.environ:
        from orchestrator.cluster.ray_job_process import delete_variables

        delete_variables(os.environ)


if __name__ == "__main__":
    try:
        _prepare()
    except SparsefleetError as error:
        sys.exit(f"error: {error}")
    # a Ray process ignores or blocks some signals, and its jobs inherit this setting
    accept_all_signals()
    from orchestrator.cli.main import main  # some libraries read variables when they are imported

    try:
        main()
    finally:
        _clean_up()
