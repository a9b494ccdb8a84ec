"""The protocol between host and worker."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos.local.host.frames import WINDOW, Channel, Kind, Window, pack, unpack

FRAMES = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=20
)


class Wire(asyncio.Transport):
    """Collects what a channel writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


@given(frames=FRAMES, cuts=st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(
    frames: list[tuple[Kind, int, bytes]], cuts: list[int]
) -> None:
    wire, seen = Wire(), []
    sender = Channel(lambda *_: None, lambda: None)
    sender.connection_made(wire)
    for frame in frames:
        sender.send(*frame)
    receiver = Channel(lambda *frame: seen.append(frame), lambda: None)
    position = turn = 0
    while position < len(wire.written):
        size = cuts[turn % len(cuts)]
        receiver.data_received(wire.written[position : position + size])
        position, turn = position + size, turn + 1
    assert seen == frames


@given(head=st.dictionaries(st.text(), st.text()), body=st.binary())
def test_a_head_and_a_body_share_a_payload(head: dict[str, str], body: bytes) -> None:
    assert unpack(pack(head, body)) == (head, body)


async def test_the_loss_of_the_other_end_is_noticed_and_what_is_sent_then_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = socket.socketpair()
    lost = asyncio.Event()
    channel = Channel(lambda *_: None, lost.set)
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
    theirs.close()
    await asyncio.wait_for(lost.wait(), 30)
    for _ in range(10):
        channel.send(Kind.STOP, 0)
    assert caplog.records == []  # asyncio says so when somebody goes on writing to a lost connection


async def test_a_window_holds_the_writer_until_the_reader_grants_more() -> None:
    window = Window()
    assert await window.take(WINDOW)
    waiting = asyncio.create_task(window.take(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    window.grant(10)
    assert await waiting


async def test_closing_a_window_releases_the_writer_with_no() -> None:
    window = Window()
    await window.take(WINDOW)
    waiting = asyncio.create_task(window.take(1))
    await asyncio.sleep(0)
    window.close()
    assert not await waiting
