"""Names of params, tags and metrics in the form that MLflow accepts."""

import posixpath
import re
from hashlib import sha256

MAX_NAME_LENGTH = 250
_INVALID = re.compile(r"[^/\w.\- :]")
_NUM_DIGITS = 8


def accepted_name(name: str) -> str:
    """Return a name that MLflow accepts: the name itself, or a similar name that ends with a digest of the original.

    MLflow rejects names with other characters than letters, digits and `/_.- :`, names that are no normalised path, and
    names of more than 250 characters. The digest keeps different names different.
    """
    similar = _INVALID.sub("_", name)
    if posixpath.normpath(similar) != similar or similar.startswith(("/", "..")) or similar == ".":
        similar = f"_{similar.replace('/', '_')}"
    if similar == name and len(name) <= MAX_NAME_LENGTH:
        return name
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:_NUM_DIGITS]
    return f"{similar[: MAX_NAME_LENGTH - _NUM_DIGITS - 1]}-{digest}"
