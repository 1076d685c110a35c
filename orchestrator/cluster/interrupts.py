"""What a signal to `submit` does to the job that the command follows."""

import sys
from collections.abc import Callable
from typing import Literal

Choice = Literal["continue", "detach", "stop"]


def interrupt_choice(
    on_interrupt: str | None, *, forget: Callable[[], object], read: Callable[[str], str] = input
) -> Callable[[], Choice]:
    """Return the function that the follower of a job calls when a signal arrives.

    `on_interrupt` is the option of `submit`; None: ask at a terminal, else stop the job. `forget` is called when the
    user wants to continue. Call this function before the first signal. After SIGHUP the terminal is closed, so that
    `ask` gets no answer and detaches.
    """
    way = on_interrupt or ("ask" if sys.stdin.isatty() else "stop")

    def choose() -> Choice:
        if way != "ask":
            return "stop" if way == "stop" else "detach"
        choice = ask_choice(read)
        if choice == "continue":
            forget()
        return choice

    return choose


def ask_choice(read: Callable[[str], str] = input) -> Choice:
    """Ask the user at the terminal what a signal does to the job; another signal detaches from the job."""
    try:
        answer = read(
            "\n[s]top the run after this round, [d]etach and let it run, or [c]ontinue to follow it? "
        )
    except (KeyboardInterrupt, EOFError):
        return "detach"
    choices: dict[str, Choice] = {"s": "stop", "d": "detach"}
    return choices.get(answer.strip().lower()[:1], "continue")
