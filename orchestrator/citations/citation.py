"""The record of one publication."""

import re
from dataclasses import dataclass

from orchestrator.errors import ConfigError

#: the first characters of every DOI
_DOI = re.compile(r"10\.\d{4,9}/[^\s{}]+")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}")
_YEAR = re.compile(r"(19|20|21)\d\d")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9:._-]*")
_ADDRESS = re.compile(r"https?://[^\s{}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A publication that a method names. `sparsefleet cite` prints it as BibTeX.

    Raises ConfigError for a field of another form.

    - `key`: the key of the BibTeX entry.
    - `title`: the title under which the venue published the work; for a preprint, its newest title.
    - `authors`: all authors in the order of the publication, each as "Family, Given". A name without a comma is an
      organisation.
    - `year`: the year of the venue; for a preprint, the year of its first version.
    - `conference`, `journal`: full name of the venue, with its short name in brackets. At most one of them is set.
      A preprint has neither.
    - `arxiv`: number of the preprint, without its version.
    - `doi`: the DOI, without an address.
    - `url`: address of the publication, if it has neither an arXiv number nor a DOI.
    - `note`: further text, for example a version.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    conference: str = ""
    journal: str = ""
    arxiv: str = ""
    doi: str = ""
    url: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Check the form of each field."""
        for field in ("key", "title", "conference", "journal", "arxiv", "doi", "url", "note"):
            self._check(field, isinstance(getattr(self, field), str), "write the value in quotes")
        self._check("key", bool(_KEY.fullmatch(self.key)), "write letters, digits and any of : . _ -")
        self._check("title", bool(self.title.strip()), "write the title of the publication")
        self._check("authors", _are_names(self.authors), 'write a tuple of names, each as "Family, Given"')
        self._check("year", bool(_YEAR.fullmatch(str(self.year))), "write the year with four digits")
        self._check("journal", not (self.conference and self.journal), "keep either conference or journal")
        arxiv, doi, url = _ARXIV.fullmatch(self.arxiv), _DOI.fullmatch(self.doi), _ADDRESS.fullmatch(self.url)
        self._check("arxiv", not self.arxiv or bool(arxiv), "write the number alone, for example 2112.09824")
        self._check(
            "doi", not self.doi or bool(doi), "write the DOI alone, for example 10.1609/aaai.v36i6.20555"
        )
        self._check("url", not self.url or bool(url), "write an address that starts with https://")

    def _check(self, field: str, correct: bool, remedy: str) -> None:
        if not correct:
            value = getattr(self, field)
            raise ConfigError(f"Citation.{field}", value, "this value is invalid", remedy)

    @property
    def venue(self) -> str:
        """Name of the conference or journal; empty for a preprint."""
        return self.conference or self.journal

    @property
    def address(self) -> str:
        """Web address: the arXiv page, else the DOI's, else `url`; empty if the publication has none of them."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    @property
    def label(self) -> str:
        """Short name of `address`: "arXiv N" or "doi N", else the title."""
        if self.arxiv:
            return f"arXiv {self.arxiv}"
        return f"doi {self.doi}" if self.doi else self.title


def _are_names(authors: object) -> bool:
    """Whether this is a tuple of names. BibTeX separates authors by " and ", so that no name may contain it."""
    return isinstance(authors, tuple) and bool(authors) and all(map(_is_name, authors))


def _is_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    return bool(re.fullmatch(r"[^,]*\w[^,]*(, [^,]*\w[^,]*)?", name)) and " and " not in name
