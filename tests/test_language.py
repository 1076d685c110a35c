"""Documents, docstrings and comments use plain English: a few unclear phrases are banned."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("orchestrator", "algorithms", "search_spaces")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
#: phrase -> what to write instead
BANNED = {
    r"go(?:es|ing|ne)? on with": "resume, continue",
    r"(?:goes|went) on": "resume, continue",
    r"anew": "again",
    r"whoever": "name the person or the process",
    r"wherever": "name the place or the condition",
    r"what (?:it|they) lacks?": "name what is missing",
    r"what cannot be": "name what is invalid",
    r"refus(?:e|es|ed|ing|al)": "reject, raise",
    r"nobody (?:is|has|was)": "name the actor",
    r"one that is": "name the thing",
    r"beside": "next to, in addition to",
    r"is there": "name the thing, and say what it does",
    r"(?:try|tries|tried|start|starts|started) again": "retry, restart",
    r"the drawn (?:ones|clients)": "the cohort, the participants",
    r"(?:held|holding) masks?": "shared mask",
    r"narrow(?:er)? models?": "submodel",
    r"(?:urn|bench|shelf|shelves|room)s?": "name the object: sampler, cache, node",
    r"the (?:former|latter)": "repeat the noun",
}
_PATTERN = re.compile("|".join(rf"(?P<p{i}>\b{phrase}\b)" for i, phrase in enumerate(BANNED)), re.IGNORECASE)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def hits(passages: Iterator[tuple[int, str]]) -> list[str]:
    """'line: phrase (remedy)' for each banned phrase, also where a line break divides it."""
    found = []
    for line, text in passages:
        for match in _PATTERN.finditer(re.sub(r"\s+", " ", text)):
            remedy = list(BANNED.values())[int(str(match.lastgroup)[1:])]
            found.append(f"{line}: {match.group()} (write: {remedy})")
    return found


def of_page(text: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a Markdown page with their first lines, without code."""
    prose = re.sub(r"^( *)```.*?^\1```", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)
    prose = re.sub(r"`[^`\n]*`", "``", prose)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", prose):
        yield line, paragraph
        line += paragraph.count("\n")


def of_module(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings and comments of a module with their first lines; comments on adjacent lines are one text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, docstring
    block: list[str] = []
    first, last = 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield first, " ".join(block)
                block, first = [], token.start[0]
            block.append(token.string.lstrip("#: "))
            last = token.start[0]
    yield first, " ".join(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_uses_plain_english(page: Path) -> None:
    assert not hits(of_page(page.read_text()))


@pytest.mark.parametrize(
    "package", sorted({path.parent for path in MODULES}), ids=lambda p: str(p.relative_to(ROOT))
)
def test_docstrings_and_comments_use_plain_english(package: Path) -> None:
    found = {path.name: hits(of_module(path.read_text())) for path in sorted(package.glob("*.py"))}
    assert not {name: lines for name, lines in found.items() if lines}


def _phrases(found: list[str]) -> list[str]:
    """The lines and phrases of hits, without the remedies."""
    return [hit.partition(" (write: ")[0] for hit in found]


def test_phrases_are_found_in_pages_across_lines_but_not_in_code() -> None:
    page = "First.\n\n```sh\nrun anew\n```\n\nThe run goes\non, `beside` the other.\n- tried Anew\n"
    assert _phrases(hits(of_page(page))) == ["7: goes on", "7: Anew"]


def test_phrases_are_found_in_docstrings_and_comments_but_not_in_values() -> None:
    source = '"""Is\nrefused."""\nx = "anew"\n# beside\n\n# nobody\n# is here\ny = 1  #: Whoever\n'
    assert _phrases(hits(of_module(source))) == ["1: refused", "4: beside", "6: nobody is", "6: Whoever"]
    assert not hits(of_module('"""Besides, it keeps on going."""\n'))
    assert _phrases(hits(of_module("# a file is\n# there\n"))) == ["1: is there"]
