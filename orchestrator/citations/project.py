"""How to cite Sparsefleet itself. A test compares this record with CITATION.cff, which wheels do not contain."""

from orchestrator.citations.citation import Citation
from orchestrator.version import installed_version

#: the citation of the installed version
SPARSEFLEET = Citation(
    key="sparsefleet",
    title="Sparsefleet",
    authors=("The Sparsefleet authors",),
    year=2026,
    note=f"Version {installed_version()}",
)
