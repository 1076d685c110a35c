"""A strict reader of BibTeX: it accepts entries with fields in braces, and nothing else."""

import re

#: the fields that the standard styles require
REQUIRED = {
    "inproceedings": {"author", "title", "booktitle", "year"},
    "article": {"author", "title", "journal", "year"},
    "misc": {"author", "title", "year"},
}


def read_bibtex(text: str) -> dict[str, dict[str, str]]:
    """Return the fields of each entry by its key; the type is the field "type".

    Raises AssertionError for text outside entries, an unknown type, a repeated key or field, a missing field,
    unbalanced braces, and characters that BibTeX styles cannot sort or print.
    """
    entries: dict[str, dict[str, str]] = {}
    assert text.isascii()
    while text.strip():
        head = re.match(r"\s*@([a-z]+)\{([A-Za-z0-9:._-]+),\s*", text)
        assert head, text[:80]
        kind, key = head.groups()
        assert key not in entries, key
        fields, text = _fields(text[head.end() :])
        assert fields.keys() >= REQUIRED[kind], key
        entries[key] = {"type": kind, **fields}
    return entries


def _fields(text: str) -> tuple[dict[str, str], str]:
    """Fields of one entry, and the text after its closing brace."""
    fields: dict[str, str] = {}
    while not text.startswith("}"):
        head = re.match(r"([A-Za-z]+) = \{", text)
        assert head, text[:80]
        name = head[1]
        assert name not in fields, name
        end = _closing(text, head.end())
        fields[name] = text[head.end() : end]
        rest = re.match(r",\s*", text[end + 1 :])
        assert rest, text[end : end + 80]
        text = text[end + 1 + rest.end() :]
    return fields, text[1:]


def _closing(text: str, start: int) -> int:
    """Position of the brace that closes the value. BibTeX counts braces after a backslash too."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise AssertionError(f"a brace is not closed: {text[:80]}")


def read_authors(field: str) -> list[str]:
    """Names of an author field, as BibTeX divides them."""
    names = re.split(r"\s+and\s+", field)
    assert all(name.startswith("{") or re.fullmatch(r"[^,]+, [^,]+", name) for name in names), field
    return names
