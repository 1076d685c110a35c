"""Handle SIGINT, SIGTERM and SIGHUP. No other module of the project installs handlers for these signals.

| | the first signal | the second signal, or the end of the grace period |
| --- | --- | --- |
| inside `SignalHandling.finishing` | calls `stop`, and the work in progress ends in order | KeyboardInterrupt |
| elsewhere | KeyboardInterrupt | KeyboardInterrupt |

Only SIGTERM and SIGHUP have a grace period: at Ctrl-C (SIGINT) a user is present, who decides. A process that is asked
to end at once, and has not ended AT_ONCE_S seconds later, exits without cleanup.
"""

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, final

from orchestrator.processes.signal_watchdog import SignalCount, Watchdog, write_to_terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: the grace period of commands that have no config
GRACE_PERIOD_S = 20.0


@final
class StoppableTask:
    """Work that the first signal ends in order. `message` is the line that the user then sees."""

    def __init__(self, stop: Callable[[], object], message: str) -> None:
        self.stop, self.message = stop, message


@final
class SignalHandling:
    """What the signals of a process do. One object exists for each process and outermost block of `handling_signals`.

    In a block outside of the main thread, Python delivers no signals, so the object never receives one.
    """

    def __init__(self, grace_period_s: float) -> None:
        self._count, self._tasks = SignalCount(), list[StoppableTask]()
        self._watchdog = Watchdog(grace_period_s)
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> bool:
        """Whether a signal has asked the process to end."""
        return self._count.first is not None

    @property
    def at_once(self) -> bool:
        """Whether the process must end without finishing its work."""
        return self._count.at_once or self._watchdog.at_once

    @property
    def exit_code(self) -> int:
        """128 plus the number of the first signal; 130, as after Ctrl-C, when no signal came."""
        return 128 + (self._count.first or signal.SIGINT)

    @contextmanager
    def finishing(self, stop: Callable[[], object], message: str) -> Iterator[StoppableTask]:
        """Let the first signal call `stop` and print a message, instead of raising KeyboardInterrupt in the block.

        `stop` may run at any point of the block, in the main thread.
        """
        task = StoppableTask(stop, message)
        self._tasks.append(task)
        try:
            yield task
        finally:
            self._tasks.remove(task)

    @property
    def grace_period_s(self) -> float:
        """Seconds between a SIGTERM or SIGHUP and the end at once."""
        return self._watchdog.grace_period_s

    @contextmanager
    def grace_period(self, seconds: float) -> Iterator[None]:
        """Set the grace period inside the block."""
        before, self._watchdog.grace_period_s = self._watchdog.grace_period_s, seconds
        try:
            yield
        finally:
            self._watchdog.grace_period_s = before

    def forget(self) -> None:
        """Forget the signals so far: the user was asked, and wants the process to continue."""
        self._count.clear()
        self._watchdog.clear()

    def install(self) -> None:
        """Install the handlers, also those that a library has replaced. A signal that is ignored stays ignored.

        nohup, for example, starts commands that ignore SIGHUP. Outside of the main thread the method does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            found = signal.getsignal(number)
            if number not in self._previous:
                if found is signal.SIG_IGN:
                    continue
                self._previous[number] = found
            signal.signal(number, self._handle)
        self._watchdog.start()

    def uninstall(self) -> None:
        """Restore the handlers that were installed before."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        self._watchdog.close()

    def redeliver(self) -> None:
        """Give the first signal to the handler that the user's own program has for it, unless it was Ctrl-C."""
        if self._count.first in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(self._count.first)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        is_new = self._count.add(number)
        if self.at_once or (is_new and not self._tasks):
            raise KeyboardInterrupt
        if is_new:
            task = self._tasks[-1]
            write_to_terminal(f"\n{task.message}; press Ctrl-C again to stop at once\n")
            task.stop()


_active: SignalHandling | None = None


@contextmanager
def handling_signals(
    grace_period_s: float = GRACE_PERIOD_S, *, redeliver: bool = False
) -> Iterator[SignalHandling]:
    """Handle the signals of this process inside the block. A block inside another one sets only the grace period.

    `redeliver` is for the functions of the Python API: a SIGTERM or SIGHUP that ended their work in order then reaches
    the user's program, too.
    """
    global _active
    is_main = threading.current_thread() is threading.main_thread()
    if _active is not None and is_main:
        with _active.grace_period(grace_period_s):
            yield _active
        return
    handling = SignalHandling(grace_period_s)
    if not is_main:
        yield handling
        return
    _active = handling
    handling.install()
    try:
        yield handling
    finally:
        _active = None
        handling.uninstall()
        if redeliver:
            handling.redeliver()


def reinstall_handlers() -> None:
    """Install the handlers of the active block again, after a library has replaced them."""
    if _active is not None:
        _active.install()


def accept_all_signals() -> None:
    """Unblock the signals that a job of a cluster inherited from Ray's processes as blocked or ignored."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_process(code: int) -> NoReturn:
    """Exit, and skip the interpreter's own cleanup, which waits for threads, if the process must end at once."""
    if _active is not None and _active.at_once:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _leave_terminal() -> None:
    """Send output of this process nowhere if it goes to a terminal. Writing to a closed terminal would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


# Ray and MLflow fork processes. Until `_forget_in_child` runs, a forked process has this process's handlers and pipe,
# and a signal to it would count as a signal to this process. So signals wait during a fork.


def _block_before_fork() -> None:
    _masks.before_fork = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _unblock_after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before_fork)


def _forget_in_child() -> None:
    """Restore the handlers in a forked process. Its signals must not count as signals of this process."""
    global _active
    if _active is not None:
        _active.uninstall()
        _active = None
    _unblock_after_fork()


_masks = threading.local()
os.register_at_fork(
    before=_block_before_fork, after_in_parent=_unblock_after_fork, after_in_child=_forget_in_child
)
