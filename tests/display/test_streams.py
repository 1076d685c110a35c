"""The level of the package's log; tests/cli/test_terminal_encoding.py tests the characters."""

import logging

import pytest

from orchestrator.display.streams import set_log_level


@pytest.mark.parametrize(
    ("options", "level"),
    [({}, logging.WARNING), ({"quiet": True}, logging.ERROR), ({"verbose": True}, logging.DEBUG)],
)
def test_level_of_the_log_follows_the_options(options: dict[str, bool], level: int) -> None:
    log = logging.getLogger("orchestrator")
    before = log.level, list(log.handlers)
    log.handlers = []  # an earlier command of this process may have added one
    try:
        set_log_level(**{"verbose": False, "quiet": False, **options})
        assert log.getEffectiveLevel() == level
        set_log_level(**{"verbose": False, "quiet": False, **options})
        assert len(log.handlers) == int(options.get("verbose", False)), "one handler only"
    finally:
        log.setLevel(before[0])
        log.handlers = before[1]
