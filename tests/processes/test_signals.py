"""What SIGINT, SIGTERM and SIGHUP do in a process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.processes.signal_watchdog import AT_ONCE_S
from orchestrator.processes.signals import GRACE_PERIOD_S, SIGNALS, exit_process, handling_signals

#: the exit codes of shells for these signals
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[signal.Signals, object]]:
    """The handlers before the test, which each test leaves unchanged: those of a new Python process.

    A Ray that an earlier test has started leaves a handler of its own in this process.
    """
    found = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield dict(before)
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in found.items():
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_stops_the_work_and_the_second_raises(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    stops: list[bool] = []
    with handling_signals() as signals:
        with signals.finishing(lambda: stops.append(True), "stopping now"):
            assert not signals.received
            signal.raise_signal(number)
            assert (signals.received, signals.at_once, stops) == (True, False, [True])
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert (signals.at_once, signals.exit_code) == (True, EXIT_CODES[number])
    assert stops == [True]
    assert "stopping now" in capfd.readouterr().err


def test_default_grace_period_ends_before_slurm_and_kubernetes_kill() -> None:
    """Both send SIGKILL 30 s after SIGTERM. The process needs up to 4.5 s after the end of the grace period."""
    for grace_period_s in (GRACE_PERIOD_S, RuntimeConfig().grace_period_s):
        assert grace_period_s + AT_ONCE_S < 30.0


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_outside_of_work_raises(number: signal.Signals) -> None:
    with handling_signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert (signals.exit_code, signals.at_once) == (EXIT_CODES[number], False)


def test_inner_work_ends_first_and_a_message_may_change(capfd: pytest.CaptureFixture[str]) -> None:
    stops: list[str] = []
    with (
        handling_signals() as signals,
        signals.finishing(lambda: stops.append("outer"), "outer"),
        signals.finishing(lambda: stops.append("inner"), "inner") as work,
    ):
        work.message = "changed"
        signal.raise_signal(signal.SIGTERM)
    assert stops == ["inner"]
    assert "changed" in capfd.readouterr().err


def test_two_sigterms_in_a_row_are_one_request() -> None:
    """`timeout` sends SIGTERM to its child, and then to the process group of this child."""
    with handling_signals() as signals, signals.finishing(lambda: None, "ends"):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert not signals.at_once


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling_signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert not signals.received
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_inner_block_is_the_outer_block_with_another_grace_period() -> None:
    with handling_signals(5.0) as outer:
        with handling_signals(7.0) as inner:
            assert inner is outer
            assert inner.grace_period_s == 7.0
        assert outer.grace_period_s == 5.0


def test_forgotten_signals_do_not_count() -> None:
    with handling_signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signals.forget()
        assert not signals.received
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not signals.at_once


def test_another_thread_has_no_handlers(handlers: dict[signal.Signals, object]) -> None:
    seen: list[object] = []

    def run() -> None:
        with handling_signals() as signals, signals.finishing(lambda: None, "ends"):
            seen.extend(signal.getsignal(number) for number in SIGNALS)
            seen.append(signals.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [*handlers.values(), False]


@pytest.mark.parametrize(("number", "reaches"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_sigterm_reaches_the_users_handler_after_the_work(number: signal.Signals, reaches: bool) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda signum, frame: seen.append(signum))
    try:
        with handling_signals(redeliver=True) as signals, signals.finishing(lambda: None, "ends"):
            signal.raise_signal(number)
            assert seen == []
        assert seen == ([number] if reaches else [])
    finally:
        signal.signal(number, before)


def test_handler_that_a_library_replaced_is_reinstalled() -> None:
    with handling_signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.install()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_exit_process_exits_with_the_code() -> None:
    with pytest.raises(SystemExit) as ended:
        exit_process(3)
    assert ended.value.code == 3


def test_accept_all_signals_resets_ignored_and_blocked_signals() -> None:
    code = (
        "import signal; from orchestrator.processes.signals import SIGNALS, accept_all_signals\n"
        "for number in SIGNALS: signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)\n"
        "accept_all_signals()\n"
        "print([signal.getsignal(n) is not signal.SIG_IGN for n in SIGNALS], signal.pthread_sigmask(0, ()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True] set()"


def test_forked_process_has_its_own_signals() -> None:
    """`multiprocessing.Pool`, for example, ends its processes by SIGTERM."""
    with handling_signals() as signals, signals.finishing(lambda: None, "ends"):
        child = os.fork()
        if child == 0:
            try:
                signal.pause()
            finally:
                os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert not signals.received
