"""Ends a process whose main thread does not react to signals, for example because it waits for a library."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import final

#: seconds that a process has to end after a request to end at once
AT_ONCE_S = 4.5
#: a SIGTERM or SIGHUP this soon after another one is the same request: `timeout`, for example, sends SIGTERM twice
_SAME_REQUEST_S = 1.0


@final
class SignalCount:
    """Counts the requests to end. `first` is the signal of the first request, `at_once` says that two have come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self.first: int | None = None
        self.at_once, self._first_s = False, 0.0

    def add(self, number: int) -> bool:
        """Count a signal; return whether it is a request of its own."""
        now_s = self._clock()
        if self.first is None:
            self.first, self._first_s = number, now_s
            return True
        if (
            number != signal.SIGINT
            and self.first != signal.SIGINT
            and now_s - self._first_s < _SAME_REQUEST_S
        ):
            return False
        self.at_once = True
        return True

    def clear(self) -> None:
        """Forget all signals."""
        self.first, self.at_once = None, False


@final
class Watchdog:
    """A thread that sees each signal of the process, also while the main thread runs no Python code.

    When the grace period of a SIGTERM or SIGHUP is over, the thread interrupts the main thread. AT_ONCE_S seconds after
    a request to end at once, it exits the process.
    """

    def __init__(self, grace_period_s: float) -> None:
        self.grace_period_s, self.at_once = grace_period_s, False
        self._count = SignalCount()
        self._deadline_s: float | None = None
        self._pipe: tuple[int, int] | None = None
        self._previous_descriptor = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, in the main thread. Does nothing if the thread runs."""
        if self._pipe is not None:
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._previous_descriptor = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, in the main thread."""
        if self._pipe is None or self._thread is None:
            return
        signal.set_wakeup_fd(self._previous_descriptor)
        (reading, writing), self._pipe = self._pipe, None
        os.close(writing)
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            os.close(reading)

    def clear(self) -> None:
        """Forget all signals."""
        self._count.clear()
        self._deadline_s, self.at_once = None, False

    def _watch(self, reading: int) -> None:
        """Read one byte for each signal. The end of the pipe ends the thread."""
        while True:
            timeout_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
            if not select.select([reading], [], [], timeout_s)[0]:
                self._reach_deadline()
                continue
            numbers = os.read(reading, 64)
            if not numbers:
                return
            for number in numbers:
                if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    self._see(number)

    def _see(self, number: int) -> None:
        if not self._count.add(number) or self.at_once:
            return
        if self._count.at_once:
            self._end_at_once()
        elif number != signal.SIGINT:
            self._deadline_s = time.monotonic() + self.grace_period_s

    def _end_at_once(self) -> None:
        self.at_once, self._deadline_s = True, time.monotonic() + AT_ONCE_S

    def _reach_deadline(self) -> None:
        if self.at_once:
            _exit(128 + (self._count.first or signal.SIGINT))
        elif self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            write_to_terminal(f"\nthe grace period of {self.grace_period_s:g} s is over; stopping at once\n")
            self._end_at_once()
            os.kill(os.getpid(), self._count.first or signal.SIGTERM)


def _exit(code: int) -> None:
    """Exit without any cleanup, but show the cursor again, which a progress bar has hidden."""
    if os.isatty(2):
        write_to_terminal("\x1b[?25h")
    write_to_terminal("the process did not end by itself, and exits without cleanup\n")
    os._exit(code)


def write_to_terminal(text: str) -> None:
    """Write to the file descriptor, because a signal may arrive while the display writes to sys.stderr."""
    with suppress(OSError):
        os.write(2, text.encode())
