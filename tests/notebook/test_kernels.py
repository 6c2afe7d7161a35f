"""The client of notebook runs against a kernel's answer whose announcement is lost; no kernel is started but once."""

import asyncio
import time
from queue import Empty

import nbformat
import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session

from nbutils.notebook import kernel_manager, run_notebook
from nbutils.notebook.kernel_manager import WakefulChannel

ANSWER = {"status": "ok"}


async def lose_the_announcement(kind: type[AsyncZMQSocketChannel], patience: float) -> dict | None:
    """What a waiting channel receives when the answer comes while the event loop is busy, right before a write."""
    session = Session(key=b"")
    kernel = zmq.Context.instance().socket(zmq.ROUTER)
    port = kernel.bind_to_random_port("tcp://127.0.0.1")
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{port}")
    channel = kind(socket, session)
    try:
        session.send(socket, "execute_request")
        client = (await asyncio.to_thread(kernel.recv_multipart))[0]
        waiting = asyncio.ensure_future(channel.get_msg())
        await asyncio.sleep(0.1)
        session.send(kernel, "execute_reply", ANSWER, ident=client)
        time.sleep(0.3)  # the loop is busy with another message
        channel.send(session.msg("comm_msg"))
        return await asyncio.wait_for(waiting, patience)
    except TimeoutError:
        return None
    finally:
        kernel.close(linger=0)
        socket.close(linger=0)


def test_a_lost_announcement_is_no_lost_answer(monkeypatch):
    """nbclient's own channel, the other side of the test, sleeps through it: without that there is nothing to mend."""
    monkeypatch.setattr(kernel_manager, "LOOK_AGAIN", 0.1)
    received = asyncio.run(lose_the_announcement(WakefulChannel, patience=30))
    assert received is not None
    assert received["content"] == ANSWER
    assert asyncio.run(lose_the_announcement(AsyncZMQSocketChannel, patience=1.5)) is None


@pytest.mark.parametrize("timeout", [0.0, 0.25])
def test_waiting_ends_in_time(monkeypatch, timeout):
    monkeypatch.setattr(kernel_manager, "LOOK_AGAIN", 0.1)

    async def wait() -> float:
        socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        began = time.monotonic()
        with pytest.raises(Empty):
            await WakefulChannel(socket, Session(key=b"")).get_msg(timeout)
        socket.close(linger=0)
        return time.monotonic() - began

    assert asyncio.run(wait()) >= timeout


def test_notebooks_run_with_it(tmp_path, monkeypatch):
    seen = []
    get_msg = WakefulChannel.get_msg

    async def counting(self, timeout=None):
        message = await get_msg(self, timeout)
        seen.append(message["header"]["msg_type"])
        return message

    monkeypatch.setattr(WakefulChannel, "get_msg", counting)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("X = 1", metadata={"tags": ["parameters"]})],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    run_notebook(tmp_path / "tiny.ipynb", {}, tmp_path / "out.ipynb")
    assert "execute_reply" in seen
