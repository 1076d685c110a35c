"""The version of Sparsefleet: the version of the installed distribution `sparsefleet`."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version that `pyproject.toml` gave the distribution, or "0" when only the source is on the path."""
    try:
        return version("sparsefleet")
    except PackageNotFoundError:
        return "0"
