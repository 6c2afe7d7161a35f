"""A kernel client for runs without a screen that does not sleep through the kernel's answer.

nbclient writes the messages of `Output` widgets to the socket on which it waits for the answer of a cell. ZeroMQ
announces an arrival once; a write between the arrival and the moment the event loop looks takes the announcement, and
the wait goes on for ever (nbclient issue 312). Here a wait looks at the socket again after a second.
"""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from traitlets import Type

LOOK_AGAIN = 1.0
"""Seconds after which a waiting channel looks at its socket again."""


class WakefulChannel(AsyncZMQSocketChannel):
    """A channel that finds a message even when its announcement was lost."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
        """The next message; waits at most `timeout` seconds, for ever when None.

        Raises:
            Empty: no message within `timeout`.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            wait = LOOK_AGAIN if end is None else max(0.0, min(LOOK_AGAIN, end - time.monotonic()))
            try:
                return await super().get_msg(wait)
            except Empty:
                if end is not None and time.monotonic() >= end:
                    raise


class WakefulClient(AsyncKernelClient):
    """Client whose shell channel, on which widget messages and answers meet, is a `WakefulChannel`."""

    shell_channel_class = Type(WakefulChannel)


class WakefulKernelManager(AsyncKernelManager):
    """Kernel manager that hands out such clients; `kernel_manager_class` of `papermill.execute_notebook`."""

    client_factory = Type(WakefulClient, klass=AsyncKernelClient)
