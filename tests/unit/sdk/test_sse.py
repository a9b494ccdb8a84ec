from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aos.sdk.sse import EventStream, Message

STREAM = (
    b': heartbeat\n\nid: 1\nevent: run.started\ndata: {"a":\ndata: 1}\n\n'
    b"id:2\r\ndata:x \xe2\x80\xa8 y\r\n\r\nretry: 40\rdata: z\r\rid: 9\n\ndata\n\nevent: lost\ndata: cut"
)
MESSAGES = [
    Message("1", "run.started", '{"a":\n1}'),
    Message("2", "message", "x \u2028 y"),
    Message("2", "message", "z"),
    Message("9", "message", ""),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    stream = EventStream()
    messages = [message for start, end in pairwise(edges) for message in stream.feed(STREAM[start:end])]
    assert messages == MESSAGES
    assert stream.retry_ms == 40


def test_fields_that_are_malformed_are_ignored() -> None:
    stream = EventStream()
    assert list(stream.feed(b"id: a\0b\nretry: soon\nunknown: 1\ndata: x\n\n")) == [
        Message("", "message", "x")
    ]
    assert stream.retry_ms is None
