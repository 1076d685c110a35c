"""The commands and the files that the pages of the documentation show."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_SAVED = re.compile(r"[Ss]ave (it|this[^`]*?)\s+as\s+`([\w.-]+)`")


@dataclass(frozen=True)
class PageCommand:
    """A command of a page; `arguments` are its words without environment variables and comments."""

    page: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.arguments)}"


@cache
def commands(program: str) -> tuple[PageCommand, ...]:
    """Return each command of the code blocks of all pages that starts with `program`, once for each page."""
    found = dict[PageCommand, None]()
    for page in PAGES:
        for language, block in _BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines() if language in ("", "sh", "bash") else ():
                words = _words(line)
                if " ".join(words).startswith(f"{program} ") and "..." not in line:
                    found[PageCommand(str(page.relative_to(ROOT)), tuple(words))] = None
    return tuple(found)


def files(page: str) -> dict[str, str]:
    """Return the text of each file that the page tells the reader to save, by the file's name.

    "Save this as" names the next code block, and "save it as" the block before.
    """
    text = (ROOT / page).read_text()
    blocks = list(_BLOCK.finditer(text))
    found = {}
    for saved in _SAVED.finditer(text):
        if saved[1] == "it":
            block = [block for block in blocks if block.end() <= saved.start()][-1]
        else:
            block = next(block for block in blocks if block.start() >= saved.end())
        found[saved[2]] = block[2]
    return found


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # no command, for example a sentence with an apostrophe
        return []
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return words
