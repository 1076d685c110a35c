"""Writes a citation as a BibTeX entry, with LaTeX commands for accents and special characters."""

from unicodedata import normalize

from orchestrator.citations.citation import Citation

#: characters that LaTeX or BibTeX would read as commands, and letters that are no letter with an accent
_COMMANDS = {
    "\\": r"{\textbackslash}",
    "{": r"{\textbraceleft}",
    "}": r"{\textbraceright}",
    "~": r"{\textasciitilde}",
    "^": r"{\textasciicircum}",
    **{character: f"\\{character}" for character in "&%$#_"},
    "ß": r"{\ss}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "ı": r"{\i}",
    "–": "--",
    "—": "---",
    "’": "'",
    "“": "``",
    "”": "''",
}
#: Unicode's combining characters and LaTeX's accents
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0328": "k",
}


def bibtex(citation: Citation) -> str:
    """Return the entry, without a line break at its end.

    Double braces keep the capitals of the title. An organisation has braces around its name, because BibTeX would
    read it as given and family name.
    """
    kind = "inproceedings" if citation.conference else "article" if citation.journal else "misc"
    names = [latex(name) if "," in name else f"{{{latex(name)}}}" for name in citation.authors]
    fields = {
        "title": f"{{{latex(citation.title)}}}",
        "author": " and ".join(names),
        "booktitle": latex(citation.conference),
        "journal": latex(citation.journal),
        "year": str(citation.year),
        "doi": citation.doi,
        "eprint": citation.arxiv,
        "archivePrefix": "arXiv" if citation.arxiv else "",
        "url": "" if citation.doi else citation.address,
        "note": latex(citation.note),
    }
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{citation.key},", *lines, "}"])


def latex(text: str) -> str:
    """Return the text for LaTeX: accents and special characters as commands, other characters unchanged."""
    return "".join(map(_latex_character, normalize("NFC", text)))


def _latex_character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    base, *marks = tuple(normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        return f"{{\\{_ACCENTS[marks[0]]}{{{base}}}}}"
    return character
