"""What a new process does not have: users' modules that an earlier command imported in this process."""

import sys

from orchestrator.plugins import importer, loading


def forget_plugins() -> None:
    """Forget all users' modules and their sources, so that the next command reads the files again."""
    for name in [name for name in sys.modules if name.startswith(importer.PREFIX)]:
        del sys.modules[name]
    importer._FOLDERS.clear()
    loading._LOADED.clear()
