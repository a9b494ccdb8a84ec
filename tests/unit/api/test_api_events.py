import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from api_server import Api

from aos.api import follow as following
from aos.api.follow import follow
from aos.kernel.errors import Unavailable
from aos.kernel.governance.audit.records import FactType
from aos.sdk.sse import EventStream, Message
from aos.services.audit.run_log import event_of
from aos.services.runs.run import RunStatus


@contextlib.asynccontextmanager
async def followed(
    api: Api, run: str, last: int | None = None
) -> AsyncIterator[tuple[int, AsyncIterator[Message]]]:
    """Follow a run over HTTP: the status, and the messages as they come."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with api.as_("viewer").stream("GET", f"/api/runs/{run}/events", headers=headers) as response:
        if response.status_code == 200:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"

        async def messages() -> AsyncIterator[Message]:
            stream = EventStream()
            async for chunk in response.aiter_bytes():
                for message in stream.feed(chunk):
                    yield message

        yield response.status_code, messages()


async def all_of(api: Api, run: str, last: int | None = None) -> list[Message]:
    async with followed(api, run, last) as (_, messages):
        return [message async for message in messages]


async def begun(api: Api, *, steps: int = 0) -> str:
    run = await api.start()
    await api.begin(run)
    for attempt in range(1, steps + 1):
        await api.record(run, FactType.STEP_SCHEDULED, step="finance", attempt=attempt)
    return run


async def test_the_events_of_a_run_are_its_records(api: Api):
    run = await begun(api, steps=3)
    await api.record(run, FactType.STEP_FAILED, {"reason": "line one\nline two\u2028three"}, step="finance")
    await api.end(run)
    messages = await all_of(api, run)
    records = await api.system.log.read(run)
    assert [message.id for message in messages] == [str(record.seq) for record in records]
    assert [message.event for message in messages] == [record.leaf.type for record in records]
    assert [json.loads(message.data) for message in messages] == [event_of(record) for record in records]
    assert messages[-1].event == "run.ended"


async def test_history_comes_first_then_what_happens(api: Api):
    run = await begun(api, steps=1)
    async with followed(api, run) as (_, messages):
        assert [(await anext(messages)).event for _ in range(2)] == ["run.started", "step.scheduled"]
        await api.record(run, FactType.STEP_COMPLETED, step="finance", attempt=1)
        assert (await anext(messages)).event == "step.completed"
        await api.end(run)
        assert [message.event async for message in messages] == ["run.ended"]


async def test_a_follower_goes_on_after_the_last_event_that_it_saw(api: Api):
    run = await begun(api, steps=3)
    await api.end(run)
    assert [message.id for message in await all_of(api, run, last=0)] == ["1", "2", "3", "4"]
    assert [message.id for message in await all_of(api, run, last=3)] == ["4"]


async def test_who_saw_everything_of_a_run_that_ended_is_told_to_stay_away(api: Api):
    run = await begun(api)
    await api.end(run)
    async with followed(api, run, last=1) as (status, messages):
        assert status == 204
        assert [message async for message in messages] == []


async def test_who_saw_everything_of_a_run_that_goes_on_waits_for_more(api: Api):
    run = await begun(api)
    async with followed(api, run, last=0) as (status, messages):
        assert status == 200
        await api.end(run)
        assert [message.id async for message in messages] == ["1"]


async def test_the_end_is_told_when_the_run_s_row_tells_it_too(api: Api):
    run = await begun(api)
    await api.record(run, FactType.RUN_ENDED)
    chunks = follow(api.system, run, 0, heartbeat_s=0.0)
    assert b"event: run.ended" not in await anext(chunks)
    assert [await anext(chunks) for _ in range(3)] == [b": heartbeat\n\n"] * 3  # it looks again and again
    await api.system.runs.update(
        run, lambda row: row.changed(status=RunStatus.COMPLETED, ended_at=row.created_at)
    )
    told = b"".join([chunk async for chunk in chunks])
    assert b"event: run.ended" in told
    assert (await api.show(run))["status"] == "completed"


async def test_a_stream_stops_at_once_when_its_client_goes_away(api: Api, monkeypatch: pytest.MonkeyPatch):
    stopped = asyncio.Event()

    async def noted(*arguments: object, **options: object) -> AsyncIterator[bytes]:
        try:
            async for chunk in follow(*arguments, **options):
                yield chunk
        finally:
            stopped.set()

    monkeypatch.setattr("aos.api.routers.runs.follow", noted)
    run = await begun(api)
    async with followed(api, run) as (_, messages):
        assert (await anext(messages)).event == "run.started"
        assert not stopped.is_set()
    await asyncio.wait_for(stopped.wait(), 30)


async def test_many_follow_one_run_and_see_the_same(api: Api):
    run = await begun(api)
    followers = [asyncio.ensure_future(all_of(api, run)) for _ in range(20)]
    for attempt in range(1, 6):
        await api.record(run, FactType.STEP_SCHEDULED, step="finance", attempt=attempt)
    await api.end(run)
    seen = await asyncio.wait_for(asyncio.gather(*followers), 20)
    assert {tuple(message.id for message in messages) for messages in seen} == {tuple("0123456")}


async def test_a_quiet_stream_says_now_and_then_that_it_lives(api: Api):
    run = await begun(api)
    chunks = follow(api.system, run, 0, heartbeat_s=0.05)
    assert (await anext(chunks)).startswith(b"id: 0\nevent: run.started\n")
    begin = time.monotonic()
    assert [await anext(chunks) for _ in range(3)] == [b": heartbeat\n\n"] * 3
    assert time.monotonic() - begin >= 0.15
    await chunks.aclose()


async def test_a_quiet_log_is_asked_less_and_less_often(api: Api, monkeypatch: pytest.MonkeyPatch):
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            await api.record(run, FactType.STEP_SCHEDULED, step="finance", attempt=1)
        if len(pauses) == 9:
            await api.end(run)

    run = await begun(api)
    monkeypatch.setattr(following, "sleep", sleep)
    chunks = [chunk async for chunk in follow(api.system, run, 0)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.05, 0.1]
    assert len(chunks) == 3


async def test_a_stream_ends_when_the_storage_is_out_of_reach(api: Api, monkeypatch: pytest.MonkeyPatch):
    run = await begun(api)

    async def unreachable(_: str) -> int:
        raise Unavailable("no answer")

    async with followed(api, run) as (_, messages):
        assert (await anext(messages)).event == "run.started"
        monkeypatch.setattr(type(api.system.log), "size", lambda _, run: unreachable(run))
        assert [message async for message in messages] == []


async def test_a_client_s_leaving_is_noticed_on_servers_of_newer_asgi_too(api: Api):
    run = await begun(api)
    sent: list[Any] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body"):
            gone.set()

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    response = following.EventStream(follow(api.system, run, 0))
    await asyncio.wait_for(response(scope, receive, send), 30)
    assert len(sent) == 2
