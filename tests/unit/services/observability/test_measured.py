from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from aos.kernel.errors import NotFound, Unavailable
from aos.services.observability import measured as module
from aos.services.observability.measured import measured
from aos.services.storage.local import open_local
from aos.services.storage.ports import AlreadyExists, Ref
from aos.services.storage.storage import Storage


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """The module's instruments, on a provider of the test's own."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    monkeypatch.setattr(module, "STORAGE_OPERATIONS", meter.create_counter("count"))
    monkeypatch.setattr(module, "STORAGE_ERRORS", meter.create_counter("errors"))
    monkeypatch.setattr(module, "STORAGE_LATENCY", meter.create_histogram("latency"))
    return reader


def counted(reader: InMemoryMetricReader, name: str) -> dict[tuple[str, str], int]:
    data = reader.get_metrics_data()
    return {
        (str(point.attributes["store"]), str(point.attributes["operation"])): getattr(point, "value", None)
        or point.count
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


async def test_operations_are_counted_and_timed_and_answers_are_no_errors(
    tmp_path: Path, reader: InMemoryMetricReader
):
    async with measured(open_local(tmp_path)) as storage:
        await storage.rows.insert("rows", "p", "k", {})
        with pytest.raises(AlreadyExists):
            await storage.rows.insert("rows", "p", "k", {})
        with pytest.raises(NotFound):
            await storage.blobs.get("values", "o", Ref("0" * 64, 1))
        assert await storage.logs.append("log", 0, b"x") == 1
    expected = {("rows", "insert"): 2, ("blobs", "get"): 1, ("logs", "append"): 1}
    assert counted(reader, "count") == expected
    assert counted(reader, "latency") == expected
    assert counted(reader, "errors") == {}


async def test_storage_that_does_not_answer_is_an_error(tmp_path: Path, reader: InMemoryMetricReader):
    class Down:
        def __getattr__(self, name: str):
            async def refuse(*_: object) -> None:
                raise Unavailable("down")

            return refuse

    async def close() -> None:
        return None

    storage = measured(Storage(Down(), Down(), Down(), close))
    with pytest.raises(Unavailable):
        await storage.rows.get("rows", "p", "k")
    assert counted(reader, "errors") == {("rows", "get"): 1}
