"""Write to terminals that cannot show every character, such as an ASCII or latin-1 terminal."""

import codecs
import sys
import unicodedata

_ERRORS = "sparsefleet"
#: replacements of symbols; other symbols become `?`, and letters become escapes
_REPLACEMENTS = {
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "×": "x",
    "·": ".",
    "•": "*",
    "…": "...",
    **dict.fromkeys("−–—─━╸╺", "-"),
}


def replace_unknown_characters() -> None:
    """Let standard output and error replace characters that their encoding does not contain."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_ERRORS)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(character: str) -> str:
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    is_symbol = unicodedata.category(character).startswith("S")
    return "?" if is_symbol else character.encode("ascii", "backslashreplace").decode()
