import pytest

from aos.kernel.errors import InvalidInput
from aos.sdk import Memory, MemoryEntry, VolatileMemory


@pytest.fixture
def memory() -> Memory:
    return VolatileMemory()


async def test_an_entry_is_inserted_once(memory: Memory) -> None:
    assert await memory.get("a") is None
    assert await memory.insert("a", {"n": 1})
    assert not await memory.insert("a", {"n": 2})
    entry = await memory.get("a")
    assert entry is not None
    assert entry.value == {"n": 1}


async def test_only_the_version_that_was_read_can_be_replaced(memory: Memory) -> None:
    await memory.insert("a", 1)
    first = await memory.get("a")
    assert isinstance(first, MemoryEntry)
    assert await memory.replace("a", 2, first.version)
    assert not await memory.replace("a", 3, first.version)
    assert not await memory.replace("b", 1, first.version)
    second = await memory.get("a")
    assert second is not None
    assert second.value == 2
    assert second.version != first.version


async def test_what_was_read_is_a_copy(memory: Memory) -> None:
    await memory.insert("a", [1])
    entry = await memory.get("a")
    assert entry is not None
    assert isinstance(entry.value, list)
    entry.value.append(2)
    again = await memory.get("a")
    assert again is not None
    assert again.value == [1]


@pytest.mark.parametrize("key", ["", "A", "a/b", "x" * 129])
async def test_a_key_of_another_form_is_refused(memory: Memory, key: str) -> None:
    with pytest.raises(InvalidInput, match="memory key"):
        await memory.insert(key, 1)
