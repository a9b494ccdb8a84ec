"""Rows in Azure Tables.

An entity holds the row's JSON in binary properties (``v00``, ``v01``, ...: one takes 64 KiB; text would
take twice its size) and the ``nonce`` of the write that made it. When an answer was lost and the SDK's
repetition is refused, the nonce tells whether the first sending is what it ran into.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.data.tables import TableErrorCode, TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from aos.services.storage.azure.wire import Sendings, counted, error_code, explained, unknown
from aos.services.storage.limits import check_listing, check_row, encode_row, encode_rows
from aos.services.storage.ports import AlreadyExists, Page, Row, Stale

PROPERTY_BYTES = 64 * 1024
# The SDK does not repeat a POST on its own: it cannot know of the nonce.
REPEATED_METHODS = frozenset({"DELETE", "GET", "POST", "PUT"})


class AzureRows:
    """The port ``Rows`` on a storage account."""

    def __init__(self, service: TableServiceClient) -> None:
        self._service = service
        self._clients: dict[str, TableClient] = {}

    async def insert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Add a row."""
        check_row(table, partition, key)
        data = encode_row(value)
        entity = _entity(partition, key, data)

        async def insert(client: TableClient, sendings: Sendings) -> str:
            try:
                written = await client.create_entity(entity, retry_on_methods=REPEATED_METHODS)
            except ResourceExistsError as error:
                etag = await _etag_if_ours(client, entity, sendings)
                if etag is None:
                    raise _taken(table, partition, key) from error
                return etag
            return str(written["etag"])

        return _row(partition, key, await self._write(table, insert), data)

    async def insert_many(self, table: str, partition: str, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Add rows to one partition: all of them or none."""
        encoded = encode_rows(table, partition, values)
        entities = [_entity(partition, key, data) for key, data in encoded.items()]
        if not entities:
            return

        async def insert(client: TableClient, sendings: Sendings) -> None:
            try:
                await client.submit_transaction(
                    [("create", entity) for entity in entities], retry_on_methods=REPEATED_METHODS
                )
            except TableTransactionError as error:
                if error_code(error) != TableErrorCode.ENTITY_ALREADY_EXISTS.value:
                    raise
                refused = entities[error.index]
                if await _etag_if_ours(client, refused, sendings) is None:
                    raise _taken(table, partition, refused["RowKey"]) from error

        await self._write(table, insert)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Return the row, or None."""
        check_row(table, partition, key)
        with explained(f"table {table}"):
            entity = await _get(self._client(table), partition, key)
        return _row_of(entity) if entity is not None else None

    async def replace(self, table: str, row: Row, value: Mapping[str, Any]) -> Row:
        """Give ``row`` a new value if it still has its etag."""
        check_row(table, row.partition, row.key)
        data = encode_row(value)
        entity = _entity(row.partition, row.key, data)
        client = self._client(table)
        with explained(f"table {table}"), counted() as sendings:
            try:
                written = await client.update_entity(
                    entity,
                    mode=UpdateMode.REPLACE,
                    etag=row.etag,
                    match_condition=MatchConditions.IfNotModified,
                )
                etag: str | None = written["etag"]
            except HttpResponseError as error:
                if error.status_code not in {404, 412}:
                    raise
                etag = await _etag_if_ours(client, entity, sendings)
        if etag is None:
            raise _stale(table, row.partition, row.key)
        return _row(row.partition, row.key, etag, data)

    async def upsert(self, table: str, partition: str, key: str, value: Mapping[str, Any]) -> Row:
        """Write the row whether or not it is there."""
        check_row(table, partition, key)
        data = encode_row(value)
        entity = _entity(partition, key, data)

        async def upsert(client: TableClient, _: Sendings) -> str:
            written = await client.upsert_entity(entity, mode=UpdateMode.REPLACE)
            return str(written["etag"])

        return _row(partition, key, await self._write(table, upsert), data)

    async def delete(self, table: str, partition: str, key: str, etag: str | None = None) -> None:
        """Remove the row, whatever it is or only if it still has ``etag``."""
        check_row(table, partition, key)
        condition = MatchConditions.Unconditionally if etag is None else MatchConditions.IfNotModified
        statuses: list[int] = []  # the SDK itself does not tell a deleted row from a missing one
        with explained(f"table {table}"), counted() as sendings:
            try:
                await self._client(table).delete_entity(
                    partition,
                    key,
                    etag=etag,
                    match_condition=condition,
                    raw_response_hook=lambda response: statuses.append(response.http_response.status_code),
                )
            except HttpResponseError as error:
                if error.status_code != 412:
                    raise
                raise _stale(table, partition, key) from error
        # Gone after a second sending: the first one, whose answer was lost, may well have deleted it.
        if etag is not None and statuses[-1] == 404 and not sendings.repeated:
            raise _stale(table, partition, key)

    async def list(
        self, table: str, partition: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> Page:
        """Return rows of a partition by key."""
        check_listing(table, partition, prefix, after, limit)
        listing = self._client(table).query_entities(
            _filter(partition, prefix, after), results_per_page=min(limit + 1, 1000)
        )
        found: list[Row] = []
        with explained(f"table {table}"):
            try:
                async for entity in listing:
                    if len(found) == limit:
                        return Page(tuple(found), found[-1].key)
                    found.append(_row_of(entity))
            except HttpResponseError as error:
                if error.status_code != 404:  # else no such table, so no such rows
                    raise
        return Page(tuple(found), None)

    def _client(self, table: str) -> TableClient:
        if table not in self._clients:
            self._clients[table] = self._service.get_table_client(table)
        return self._clients[table]

    async def _write[T](self, table: str, write: Callable[[TableClient, Sendings], Awaitable[T]]) -> T:
        """Run a write; if the table is missing, make it and run the write again."""
        client = self._client(table)
        with explained(f"table {table}"):
            try:
                with counted() as sendings:
                    return await write(client, sendings)
            except HttpResponseError as error:
                if not _is_table_missing(error):
                    raise
            await self._service.create_table_if_not_exists(table)
            with counted() as sendings:
                return await write(client, sendings)


def _is_table_missing(error: HttpResponseError) -> bool:
    return error.status_code == 404 or error_code(error) == TableErrorCode.TABLE_NOT_FOUND.value


def _entity(partition: str, key: str, data: bytes) -> dict[str, Any]:
    chunks = range(0, len(data), PROPERTY_BYTES)
    return {
        "PartitionKey": partition,
        "RowKey": key,
        "nonce": uuid.uuid4().hex,
        **{f"v{n:02}": data[start : start + PROPERTY_BYTES] for n, start in enumerate(chunks)},
    }


def _row(partition: str, key: str, etag: str, data: bytes) -> Row:
    return Row(partition, key, json.loads(data), etag)


def _row_of(entity: Any) -> Row:
    data = b"".join(entity[name] for name in sorted(entity) if name.startswith("v"))
    return _row(entity["PartitionKey"], entity["RowKey"], entity.metadata["etag"], data)


async def _get(client: TableClient, partition: str, key: str) -> Any | None:
    try:
        return await client.get_entity(partition, key)
    except HttpResponseError as error:
        if error.status_code == 404:
            return None
        raise


async def _etag_if_ours(client: TableClient, entity: Mapping[str, Any], sendings: Sendings) -> str | None:
    """Say what a refused write ran into: the etag of its own first sending, or None: somebody else's.

    Raises:
        Unavailable: it was sent more than once, and what is there now does not tell.
    """
    if not sendings.repeated:
        return None
    partition, key = entity["PartitionKey"], entity["RowKey"]
    current = await _get(client, partition, key)
    if current is None or current["nonce"] != entity["nonce"]:
        raise unknown(f"row {partition}/{key}")
    return str(current.metadata["etag"])


def _filter(partition: str, prefix: str, after: str | None) -> str:
    """Return the OData filter; no name holds a quote."""
    terms = [f"PartitionKey eq '{partition}'"]
    if after is not None:
        terms.append(f"RowKey gt '{after}'")
    if prefix:
        terms.append(f"RowKey ge '{prefix}'")
        # The first string past all that begin with the prefix; past "~" a key has no character.
        stem = prefix.rstrip("~")
        if stem:
            terms.append(f"RowKey lt '{stem[:-1]}{chr(ord(stem[-1]) + 1)}'")
    return " and ".join(terms)


def _taken(table: str, partition: str, key: str) -> AlreadyExists:
    return AlreadyExists(
        f"{table} already has a row {partition}/{key}", table=table, partition=partition, key=key
    )


def _stale(table: str, partition: str, key: str) -> Stale:
    return Stale(f"row {partition}/{key} of {table} was changed", table=table, partition=partition, key=key)
