"""What the Azure backend makes of lost answers, a busy service, and one that is not there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob.aio import BlobServiceClient
from lossy_proxy import LossyProxy
from pydantic import SecretStr

from aos.kernel.errors import Integrity, InvalidSetting, NotFound, Unavailable
from aos.services.storage import AlreadyExists, Row, Stale, Storage, azure
from aos.services.storage.azure import ConnectionString, Identity, open_azure


class Faulty:
    """A storage whose answers can be lost, and another way to the same account."""

    def __init__(self, storage: Storage, direct: Storage, tables: LossyProxy, blobs: LossyProxy) -> None:
        self.storage = storage
        self.direct = direct
        self.tables = tables
        self.blobs = blobs


@pytest.fixture
async def faulty(azurite: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    monkeypatch.setattr(azure, "RETRIES", 1)
    async with LossyProxy(azurite.table_port) as tables, LossyProxy(azurite.blob_port) as blobs:
        account = azurite.new_account(table_port=tables.port, blob_port=blobs.port)
        straight = account.value.get_secret_value()
        straight = straight.replace(f":{tables.port}/", f":{azurite.table_port}/")
        straight = straight.replace(f":{blobs.port}/", f":{azurite.blob_port}/")
        async with (
            open_azure(account) as storage,
            open_azure(ConnectionString(SecretStr(straight))) as direct,
        ):
            await direct.rows.insert("things", "p", "existing", {"n": 0})
            yield Faulty(storage, direct, tables, blobs)


async def existing(faulty: Faulty) -> Row:
    row = await faulty.direct.rows.get("things", "p", "existing")
    assert row is not None
    return row


async def test_an_insert_whose_answer_was_lost_succeeds(faulty: Faulty) -> None:
    faulty.tables.answers_to_lose = 1
    row = await faulty.storage.rows.insert("things", "p", "k", {"n": 1})
    assert faulty.tables.answers_to_lose == 0
    assert await faulty.direct.rows.get("things", "p", "k") == row


async def test_an_insert_of_a_taken_key_whose_answer_was_lost_does_not_claim_to_know(faulty: Faulty) -> None:
    faulty.tables.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await faulty.storage.rows.insert("things", "p", "existing", {"n": 1})
    with pytest.raises(AlreadyExists):
        await faulty.storage.rows.insert("things", "p", "existing", {"n": 1})


async def test_an_insert_replaced_before_its_answer_was_lost_is_not_called_a_conflict(faulty: Faulty) -> None:
    async def replace() -> None:
        row = await faulty.direct.rows.get("things", "p", "k")
        assert row is not None
        await faulty.direct.rows.replace("things", row, {"n": 2})

    faulty.tables.on_loss = replace
    faulty.tables.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await faulty.storage.rows.insert("things", "p", "k", {"n": 1})


async def test_a_transaction_whose_answer_was_lost_succeeds(faulty: Faulty) -> None:
    faulty.tables.answers_to_lose = 1
    await faulty.storage.rows.insert_many("things", "p", {"a": {"n": 1}, "b": {"n": 2}})
    assert faulty.tables.answers_to_lose == 0
    page = await faulty.direct.rows.list("things", "p")
    assert {row.key: row.value for row in page.rows} == {"a": {"n": 1}, "b": {"n": 2}, "existing": {"n": 0}}


async def test_a_replacement_whose_answer_was_lost_succeeds(faulty: Faulty) -> None:
    row = await existing(faulty)
    faulty.tables.answers_to_lose = 1
    replaced = await faulty.storage.rows.replace("things", row, {"n": 1})
    assert faulty.tables.answers_to_lose == 0
    assert await existing(faulty) == replaced


async def test_a_replacement_overwritten_before_its_answer_was_lost_is_not_called_stale(
    faulty: Faulty,
) -> None:
    async def overwrite() -> None:
        await faulty.direct.rows.upsert("things", "p", "existing", {"n": 2})

    row = await existing(faulty)
    faulty.tables.on_loss = overwrite
    faulty.tables.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await faulty.storage.rows.replace("things", row, {"n": 1})
    with pytest.raises(Stale):
        await faulty.storage.rows.replace("things", row, {"n": 1})


async def test_a_conditional_deletion_whose_answer_was_lost_succeeds(faulty: Faulty) -> None:
    row = await existing(faulty)
    faulty.tables.answers_to_lose = 1
    await faulty.storage.rows.delete("things", "p", "existing", row.etag)
    assert faulty.tables.answers_to_lose == 0
    assert await faulty.direct.rows.get("things", "p", "existing") is None


async def test_an_append_whose_answer_was_lost_succeeds_and_is_there_once(faulty: Faulty) -> None:
    await faulty.direct.logs.append("log", 0, b"first")
    faulty.blobs.answers_to_lose = 1
    assert await faulty.storage.logs.append("log", 5, b"second") == 11
    assert faulty.blobs.answers_to_lose == 0
    assert await faulty.direct.logs.read("log") == b"firstsecond"


async def test_an_append_refused_in_a_lost_answer_is_stale(faulty: Faulty) -> None:
    await faulty.direct.logs.append("log", 0, b"first")
    faulty.blobs.answers_to_lose = 1
    with pytest.raises(Stale) as refusal:
        await faulty.storage.logs.append("log", 0, b"other")
    assert refusal.value.details["actual"] == 5
    assert await faulty.direct.logs.read("log") == b"first"


async def test_a_value_whose_answer_was_lost_is_kept(faulty: Faulty) -> None:
    await faulty.direct.blobs.put("values", "run-1", b"other")
    faulty.blobs.answers_to_lose = 1
    ref = await faulty.storage.blobs.put("values", "run-1", b"data")
    assert faulty.blobs.answers_to_lose == 0
    assert await faulty.direct.blobs.get("values", "run-1", ref) == b"data"


async def test_a_busy_service_is_unavailable_and_then_works_again(faulty: Faulty) -> None:
    row = await existing(faulty)
    ref = await faulty.direct.blobs.put("values", "run-1", b"data")
    faulty.tables.busy = faulty.blobs.busy = True
    rows, blobs, logs = faulty.storage.rows, faulty.storage.blobs, faulty.storage.logs
    results = await asyncio.gather(
        rows.insert("things", "p", "k", {}),
        rows.insert_many("things", "p", {"k": {}}),
        rows.get("things", "p", "k"),
        rows.replace("things", row, {"n": 1}),
        rows.upsert("things", "p", "k", {}),
        rows.delete("things", "p", "existing", row.etag),
        rows.list("things", "p"),
        blobs.put("values", "run-1", b"x"),
        blobs.get("values", "run-1", ref),
        blobs.delete("values", "run-1", ref),
        blobs.delete_owner("values", "run-1"),
        logs.append("log", 0, b"x"),
        logs.read("log"),
        logs.size("log"),
        logs.delete("log"),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == ["Unavailable"] * 15
    faulty.tables.busy = faulty.blobs.busy = False
    assert await rows.get("things", "p", "existing") == row
    assert await blobs.get("values", "run-1", ref) == b"data"


async def test_a_service_that_is_not_there_is_unavailable(
    azurite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "RETRIES", 0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but it does not listen: refused
        port = nobody.getsockname()[1]
        async with open_azure(azurite.new_account(table_port=port, blob_port=port)) as storage:
            with pytest.raises(Unavailable):
                await storage.rows.insert("things", "p", "k", {})
            with pytest.raises(Unavailable):
                await storage.logs.size("log")


async def test_a_wrong_key_is_unavailable_and_not_shown(azurite: Any) -> None:
    secret = azurite.new_account().value.get_secret_value()
    wrong = "d3Jvbmcga2V5"
    async with open_azure(ConnectionString(SecretStr(secret.replace("a2V5", wrong)))) as storage:
        for call in (
            storage.rows.get("things", "p", "k"),
            storage.blobs.put("values", "o", b"x"),
            storage.logs.append("log", 0, b"x"),
        ):
            with pytest.raises(Unavailable) as refusal:
                await call
            assert wrong not in refusal.value.message


@pytest.mark.parametrize("bad", ["", "nonsense-secret", "AccountKey=secret;x"])
def test_a_malformed_connection_string_is_refused_and_not_shown(bad: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        open_azure(ConnectionString(SecretStr(bad)))
    assert "secret" not in refusal.value.message


async def test_first_uses_at_once_make_each_table_and_container_together(azurite: Any) -> None:
    account = azurite.new_account()
    async with open_azure(account) as one, open_azure(account) as two:
        stores = [one, two] * 5
        await asyncio.gather(
            *[store.rows.upsert("fresh", "p", f"k{n}", {}) for n, store in enumerate(stores)],
            *[store.rows.insert_many("fresh", "q", {f"k{n}": {}}) for n, store in enumerate(stores)],
            *[store.blobs.put("fresh", "run-1", b"%d" % n) for n, store in enumerate(stores)],
            *[store.logs.append(f"log-{n}", 0, b"x") for n, store in enumerate(stores)],
        )
        assert len((await one.rows.list("fresh", "p")).rows) == 10
        assert len((await one.rows.list("fresh", "q")).rows) == 10


class StaticCredential:
    """An identity whose token nobody accepts; what matters is that it is asked for one."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        self.scopes += scopes
        return AccessToken("token", 2**40)

    async def close(self) -> None: ...

    async def __aenter__(self) -> StaticCredential:
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_an_identity_is_asked_for_tokens_of_the_storage_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(azure, "RETRIES", 0)
    credential = StaticCredential()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}/account"
        async with open_azure(Identity(url, url, credential)) as storage:
            with pytest.raises(Unavailable):
                await storage.rows.get("things", "p", "k")
            with pytest.raises(Unavailable):
                await storage.blobs.put("values", "run-1", b"x")
    assert credential.scopes == ["https://storage.azure.com/.default"] * 2


async def test_a_value_altered_behind_our_back_is_noticed(azurite: Any) -> None:
    account = azurite.new_account()
    async with (
        open_azure(account) as storage,
        BlobServiceClient.from_connection_string(account.value.get_secret_value()) as service,
    ):
        ref = await storage.blobs.put("values", "run-1", b"data")
        blob = service.get_blob_client("values", f"run-1/{ref.sha256}")
        await blob.upload_blob(b"DATA", overwrite=True)
        with pytest.raises(Integrity):
            await storage.blobs.get("values", "run-1", ref)
        await blob.delete_blob()
        with pytest.raises(NotFound):
            await storage.blobs.get("values", "run-1", ref)
