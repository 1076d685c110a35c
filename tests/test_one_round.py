"""The page "One round, step by step": its names exist, and an update passes the listed modules."""

import re
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.update import ClientUpdate, LocalResult
from tests.support.runs import new_driver, prepared

PAGE = (Path(__file__).parents[1] / "docs" / "one-round.md").read_text()
NAMES = re.findall(r"`([a-z_.]+):([A-Za-z_.]+)`", PAGE)
RECORDS = (LocalResult, ClientUpdate, ReceivedUpdate, Contribution)
MAX_MODULES = 7
#: the module of `pack` and `server_update`, the ends of an update's way
ENDS = {"orchestrator.federation.algorithm"}


def _section(title: str) -> str:
    """The text of the page between this heading and the next heading of the same level."""
    return re.split(r"^## ", PAGE.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def _way() -> list[str]:
    """The modules of the numbered table, in order."""
    return re.findall(r"^\| \d+ \| `(\S+)`", _section("The modules on the way"), re.MULTILINE)


@pytest.mark.parametrize(("module", "name"), sorted(set(NAMES)))
def test_every_name_on_the_page_exists(module: str, name: str) -> None:
    assert attrgetter(name)(import_module(module)) is not None


def test_program_of_the_page_runs_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The accuracy depends on the CPU model; the clients and the encoded sizes do not."""
    monkeypatch.chdir(tmp_path)
    program, output = re.findall(r"```(?:python|text)\n(.*?)```", PAGE, re.DOTALL)[:2]
    exec(compile(program, "one-round.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("round 0: ")
    assert printed[1:] == output.splitlines()[1:]


def test_page_has_the_steps_of_the_driver() -> None:
    driver = sys.modules["orchestrator.rounds.driver"]
    assert driver.__doc__ is not None
    steps = re.findall(r"^ +(\d)  ([a-z]+) ", driver.__doc__, re.MULTILINE)
    headings = re.findall(r"^### (\d)\. ([A-Z][a-z]+)$", PAGE, re.MULTILINE)
    assert headings == [(number, name.capitalize()) for number, name in steps]
    assert len(steps) == 7


def test_page_lists_exactly_the_four_records() -> None:
    listed = re.findall(r"^\| `(\S+):(\S+)` \|", _section("The four records of an update"), re.MULTILINE)
    assert [getattr(import_module(module), name) for module, name in listed] == list(RECORDS)


def test_update_passes_at_most_seven_modules() -> None:
    way = _way()
    assert len(way) == len(set(way)) <= MAX_MODULES
    assert all(isinstance(import_module(module), ModuleType) for module in way)


class _Trace:
    """Collects the modules of the project whose functions receive or return a record of an update."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def __call__(self, frame: FrameType, event: str, result: object) -> None:
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if module.split(".")[0] != "orchestrator" or code.co_name == "__init__":
            return
        arguments = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
        seen = arguments if event == "call" else [result] if event == "return" else []
        if any(isinstance(value, RECORDS) for value in seen):
            self.modules.add(module)


@pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])
def test_update_passes_exactly_the_modules_of_the_page(kind: str, tmp_path: Path) -> None:
    """A profiler records the modules during a round.

    The module of a record may create it from another record.
    """
    overrides = ["training.rounds=1"]
    way = set(_way())
    if kind == "asynchronous":
        overrides += ["asynchrony.kind=fedbuff", "asynchrony.buffer_size=2"]
        way = way - {"orchestrator.rounds.synchronous"} | {"orchestrator.rounds.asynchronous"}
    driver, trace = new_driver(prepared(*overrides), tmp_path), _Trace()
    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        list(driver.run())
    finally:
        sys.setprofile(before)
    helpers = set(re.findall(r"`(orchestrator\.federation\.(?:client_event|staleness))`", PAGE))
    own = {record.__module__ for record in RECORDS}
    assert way <= trace.modules
    assert trace.modules <= way | ENDS | helpers | own
