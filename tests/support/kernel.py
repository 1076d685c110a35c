"""A notebook kernel in a process of its own, as Jupyter starts it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

#: seconds that a cell may take
TIMEOUT_S = 180


@dataclass
class CellOutput:
    """What a cell has shown: the text of its streams, its error, and the states of each output that it has displayed.

    `states` maps the id of an updated output to its MIME bundles in their order.
    """

    text: str = ""
    error: str = ""
    states: dict[str, list[Mapping[str, str]]] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)

    def add(self, message: Mapping[str, Any]) -> None:
        """Add a message of the kernel."""
        kind, content = message["msg_type"], message["content"]
        self.kinds.append(kind)
        if kind == "stream":
            self.text += content["text"]
        elif kind == "error":
            self.error = content["ename"]
        elif kind in ("display_data", "update_display_data"):
            name = content.get("transient", {}).get("display_id", "")
            self.states.setdefault(name, []).append(content["data"])

    @property
    def bar(self) -> list[Mapping[str, str]]:
        """The states of the only output that was displayed."""
        (states,) = self.states.values()
        return states


class Kernel:
    """Executes cells one after another."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self._client = manager, client

    def execute(self, code: str, on_output: Callable[[CellOutput], None] = lambda _: None) -> CellOutput:
        """Execute a cell; `on_output` is called with the output so far after each message of the kernel."""
        output = CellOutput()

        def receive(message: Mapping[str, Any]) -> None:
            output.add(message)
            on_output(output)

        self._client.execute_interactive(code, output_hook=receive, timeout=TIMEOUT_S)
        return output


@contextmanager
def running_kernel(folder: Path) -> Iterator[Kernel]:
    """Start a kernel in this folder, and end it with the block."""
    with TemporaryDirectory(prefix="kernel-") as sockets:  # the path of a socket has at most 107 characters
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/s")
        # this variable of pytest would switch off that cells show what the process writes to its descriptors
        environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
        manager.start_kernel(cwd=str(folder), env={**environment, "IPYTHONDIR": f"{sockets}/ipython"})
        client = manager.blocking_client()
        try:
            client.start_channels()
            client.wait_for_ready(timeout=TIMEOUT_S)
            yield Kernel(manager, client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
