import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aos.kernel.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from aos.services.auth import KeyStore, Principal, require
from aos.services.storage import Rows
from aos.services.storage.local import open_local


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    async with open_local(tmp_path) as storage:
        yield storage.rows


@pytest.fixture
def keys(rows: Rows, clock: Clock) -> KeyStore:
    return KeyStore(rows, cache_s=5, clock=clock)


async def refusal(keys: KeyStore, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await keys.authenticate(text)
    assert not refused.value.details
    return refused.value.message


async def test_a_key_authenticates_its_holder(keys: KeyStore):
    text, record = await keys.create("Ada", ["operator", "board"], "acme")
    assert await keys.authenticate(text) == Principal(
        record.id, "Ada", "acme", frozenset({"operator", "board"})
    )


async def test_the_secret_is_nowhere_in_storage(keys: KeyStore, rows: Rows, tmp_path: Path):
    text, record = await keys.create("Ada", ["viewer"], "acme")
    secret = text.split("_", 2)[2]
    assert len(secret) == 43
    page = await rows.list("apikeys", "keys")
    assert [row.key for row in page.rows] == [record.id]
    with sqlite3.connect(tmp_path / "storage.db") as database:
        assert secret not in "\n".join(database.iterdump())
    assert secret not in repr(record)


async def test_every_bad_key_gets_the_same_refusal(keys: KeyStore):
    text, _ = await keys.create("Ada", ["viewer"], "acme")
    revoked, gone = await keys.create("Bea", ["viewer"], "acme")
    await keys.revoke("acme", gone.id)
    swapped = text[:-1] + ("A" if text[-1] != "A" else "B")
    bad = [
        "",
        "aos_",
        text[:-1],
        text + "x",
        text + "\n",
        swapped,
        text.upper(),
        revoked,
        "x" * 10_000,
        "é\ud800",
    ]
    bad.append(f"aos_{'0' * 16}_{text.split('_', 2)[2]}")
    bad.append(f"aos_{gone.id}_{text.split('_', 2)[2]}")
    assert len({await refusal(keys, one) for one in bad}) == 1


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_when_the_memory_ends(
    keys: KeyStore, rows: Rows, clock: Clock
):
    elsewhere = KeyStore(rows, cache_s=5, clock=clock)
    text, record = await keys.create("Ada", ["viewer"], "acme")
    await keys.authenticate(text)
    await elsewhere.authenticate(text)
    revoked = await keys.revoke("acme", record.id)
    assert revoked.revoked_at == 1000
    await refusal(keys, text)
    clock.now += 4.9
    await elsewhere.authenticate(text)
    clock.now += 0.1
    await refusal(elsewhere, text)


async def test_revoking_again_keeps_the_first_time(keys: KeyStore, clock: Clock):
    _, record = await keys.create("Ada", ["viewer"], "acme")
    first = await keys.revoke("acme", record.id)
    clock.now += 50
    assert await keys.revoke("acme", record.id) == first


async def test_revoking_from_many_sides_at_once_settles_on_one_time(rows: Rows):
    ticks = iter(range(1000, 2000))
    stores = [KeyStore(rows, clock=lambda: float(next(ticks))) for _ in range(8)]
    _, record = await stores[0].create("Ada", ["viewer"], "acme")
    records = await asyncio.gather(*(store.revoke("acme", record.id) for store in stores))
    assert len({revoked.revoked_at for revoked in records}) == 1


async def test_a_tenant_neither_sees_nor_revokes_the_keys_of_another(keys: KeyStore):
    text, record = await keys.create("Ada", ["viewer"], "acme")
    await keys.create("Eve", ["viewer"], "evil")
    assert [one.name for one in await keys.list("acme")] == ["Ada"]
    with pytest.raises(NotFound):
        await keys.revoke("evil", record.id)
    assert (await keys.authenticate(text)).name == "Ada"


async def test_keys_are_listed_oldest_first_with_those_revoked(keys: KeyStore, clock: Clock):
    for name in ("c", "a", "b"):
        _, record = await keys.create(name, ["viewer"], "acme")
        clock.now += 1
    await keys.revoke("acme", record.id)
    listed = await keys.list("acme")
    assert [one.name for one in listed] == ["c", "a", "b"]
    assert [one.revoked_at is None for one in listed] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "roles", "tenant"),
    [
        (" ", ["viewer"], "t"),
        ("a\nb", ["viewer"], "t"),
        ("x" * 101, ["viewer"], "t"),
        ("Ada", [], "t"),
        ("Ada", ["Big Boss"], "t"),
        ("Ada", ["viewer"], "no/tenant"),
    ],
)
async def test_a_malformed_key_is_not_made(
    keys: KeyStore, rows: Rows, name: str, roles: list[str], tenant: str
):
    with pytest.raises(InvalidInput):
        await keys.create(name, roles, tenant)
    assert not (await rows.list("apikeys", "keys")).rows


async def test_made_up_keys_are_not_remembered(keys: KeyStore):
    for number in range(50):
        await refusal(keys, f"aos_{number:016x}_{'A' * 43}")
    assert not keys._cache


@pytest.mark.parametrize(
    ("has", "needs", "allowed"),
    [
        ("operator", "operator", True),
        ("approver", "operator", False),
        ("operator", "viewer", True),
        ("approver", "viewer", True),
        ("viewer", "operator", False),
        ("board", "board", True),
        ("board", "viewer", False),
    ],
)
def test_a_role_is_needed_and_named(has: str, needs: str, allowed: bool):
    principal = Principal("k", "Ada", "acme", frozenset({has}))
    if allowed:
        require(principal, needs)
    else:
        with pytest.raises(Forbidden, match=f"needs the role '{needs}'"):
            require(principal, needs)
