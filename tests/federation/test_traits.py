"""The classification of a method rejects publications of another form."""

from typing import Any

import pytest

from orchestrator.citations.citation import Citation
from orchestrator.errors import ConfigError
from orchestrator.federation.traits import Traits

PAPER = Citation(key="a2020b", title="Bees", authors=("Lovelace, Ada",), year=2020)


@pytest.mark.parametrize("field", ["citations", "baseline_of", "related"])
@pytest.mark.parametrize("value", [PAPER, "arXiv 1912.00818", ("arXiv 1912.00818",), [PAPER]])
def test_publications_are_a_tuple_of_citations(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Traits(**{field: value})
    assert error.value.field == f"Traits.{field}"
    assert getattr(Traits(**{field: (PAPER,)}), field) == (PAPER,)
