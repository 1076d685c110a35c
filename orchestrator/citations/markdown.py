"""Writes a citation as one line of Markdown."""

from orchestrator.citations.citation import Citation


def reference(citation: Citation) -> str:
    """Return the authors as "Given Family", the title in quotes, the venue, the year and a link."""
    names = [" ".join(reversed(name.split(", "))) for name in citation.authors]
    authors = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    published = f"{citation.venue} {citation.year}" if citation.venue else str(citation.year)
    parts = [authors, f'"{citation.title}"', published, link(citation)]
    return ", ".join(filter(None, parts))


def link(citation: Citation) -> str:
    """Return a link with a short text; empty if the publication has no address."""
    if not citation.address:
        return ""
    text = citation.label if citation.label != citation.title else "online"
    return f"[{text}]({citation.address})"
