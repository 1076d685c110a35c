"""What commands write to the terminal: characters that it cannot show, such as an ASCII terminal, and the log."""

import codecs
import logging
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


def set_log_level(*, verbose: bool, quiet: bool) -> None:
    """Print the package's log on standard error: all of it if `verbose`, errors only if `quiet`, else warnings."""
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    log = logging.getLogger(__name__.partition(".")[0])
    log.setLevel(level)
    if not log.handlers and verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(character: str) -> str:
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    is_symbol = unicodedata.category(character).startswith("S")
    return "?" if is_symbol else character.encode("ascii", "backslashreplace").decode()
