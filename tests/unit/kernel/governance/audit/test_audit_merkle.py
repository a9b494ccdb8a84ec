import hashlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 70
LEAVES = [leaf_hash(bytes([number])) for number in range(LARGEST)]

# The leaves and roots that Certificate Transparency implementations test against.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
KNOWN_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def leads_to_root(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.3.2: another algorithm than ours, which climbs from the leaf."""
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def extends(first: int, first_hash: bytes, second: int, second_hash: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2, for 0 < first < second."""
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_hash)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hashlib.sha256(b"\x01" + c + fr).digest()
            sr = hashlib.sha256(b"\x01" + c + sr).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\x01" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_hash and sr == second_hash


def flipped(node: bytes) -> bytes:
    return bytes([node[0] ^ 1]) + node[1:]


def mutations(proof: list[bytes]) -> Iterator[list[bytes]]:
    for at, node in enumerate(proof):
        yield [*proof[:at], flipped(node), *proof[at + 1 :]]
        yield [*proof[:at], node[:-1], *proof[at + 1 :]]
        yield proof[:at] + proof[at + 1 :]
        yield [*proof[:at], node, *proof[at:]]
        if at and proof[at - 1] != node:
            yield [*proof[: at - 1], node, proof[at - 1], *proof[at + 1 :]]
    yield [*proof, EMPTY_ROOT]
    yield [EMPTY_ROOT, *proof]


@pytest.mark.parametrize("size", range(1, len(KNOWN_ROOTS) + 1))
def test_root_is_that_of_other_implementations(size: int) -> None:
    assert root_of([leaf_hash(data) for data in KNOWN_LEAVES[:size]]).hex() == KNOWN_ROOTS[size - 1]


@pytest.mark.parametrize("size", range(LARGEST + 1))
def test_frontier_agrees_with_the_definition_at_every_size(size: int) -> None:
    frontier = frontier_of(LEAVES[:size])
    assert frontier.root == naive_root(LEAVES[:size])
    assert (frontier.size, len(frontier.nodes)) == (size, size.bit_count())


@given(st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_frontier_read_back_goes_on_as_if_never_stored(size: int, stop: int) -> None:
    first, rest = LEAVES[: min(stop, size)], LEAVES[min(stop, size) : size]
    frontier = Frontier.from_json(frontier_of(first).to_json())
    for leaf in rest:
        frontier = frontier.append(leaf)
    assert frontier == frontier_of(LEAVES[:size])


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"size": 1},
        {"size": 1, "nodes": []},
        {"size": True, "nodes": ["00" * 32]},
        {"size": -1, "nodes": ["00" * 32]},
        {"size": 3, "nodes": ["00" * 32]},
        {"size": 1, "nodes": ["0" * 63]},
        {"size": 1, "nodes": ["AA" * 32]},
        {"size": 1, "nodes": ["zz" * 32]},
        {"size": 1, "nodes": [7]},
        {"size": 1, "nodes": ["00" * 32], "more": 1},
    ],
)
def test_frontier_refuses_a_malformed_state(value: object) -> None:
    with pytest.raises(Integrity):
        Frontier.from_json(value)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_inclusion_is_proved_for_every_leaf_and_no_mutated_proof_passes(size: int) -> None:
    hashes, root = LEAVES[:size], naive_root(LEAVES[:size])
    for index, leaf in enumerate(hashes):
        proof = inclusion_proof(hashes, index)
        verify_inclusion(leaf, index, size, root, proof)
        assert leads_to_root(leaf, index, size, root, proof)
        for mutated in mutations(proof):
            with pytest.raises(Integrity):
                verify_inclusion(leaf, index, size, root, mutated)


@given(st.integers(2, LARGEST), st.data())
def test_inclusion_of_another_leaf_place_or_root_is_refused(size: int, data: st.DataObject) -> None:
    hashes, root = LEAVES[:size], naive_root(LEAVES[:size])
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-1, size).filter(lambda place: place != index))
    proof = inclusion_proof(hashes, index)
    with pytest.raises(Integrity):
        verify_inclusion(hashes[index], other, size, root, proof)
    with pytest.raises(Integrity):
        verify_inclusion(flipped(hashes[index]), index, size, root, proof)
    with pytest.raises(Integrity):
        verify_inclusion(hashes[index], index, size, flipped(root), proof)


@pytest.mark.parametrize("new", range(LARGEST + 1))
def test_consistency_is_proved_with_every_older_size_and_no_mutated_proof_passes(new: int) -> None:
    new_root = naive_root(LEAVES[:new])
    for old in range(new + 1):
        old_root = naive_root(LEAVES[:old])
        proof = consistency_proof(LEAVES[:new], old)
        verify_consistency(old, old_root, new, new_root, proof)
        if 0 < old < new:
            assert extends(old, old_root, new, new_root, proof)
        for mutated in mutations(proof):
            with pytest.raises(Integrity):
                verify_consistency(old, old_root, new, new_root, mutated)


def test_byte_moved_from_a_leaf_hash_into_its_proof_is_refused() -> None:
    proof = inclusion_proof(LEAVES[:4], 0)
    with pytest.raises(Integrity):
        verify_inclusion(
            LEAVES[0][:-1], 0, 4, naive_root(LEAVES[:4]), [LEAVES[0][-1:] + proof[0], *proof[1:]]
        )


def test_consistency_proof_of_things_that_are_no_hashes_says_so() -> None:
    with pytest.raises(Integrity, match="not a hash"):
        verify_consistency(3, EMPTY_ROOT, 4, EMPTY_ROOT, [b"", b"", b""])


@given(st.integers(1, LARGEST), st.data())
def test_consistency_with_a_rewritten_log_is_refused(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    rewritten = data.draw(st.integers(0, old - 1))
    forged = [flipped(leaf) if at == rewritten else leaf for at, leaf in enumerate(LEAVES[:new])]
    with pytest.raises(Integrity):
        verify_consistency(
            old, naive_root(LEAVES[:old]), new, naive_root(forged), consistency_proof(forged, old)
        )


@pytest.mark.parametrize(("old", "new"), [(2, 1), (-1, 1), (1, 2**63)])
def test_consistency_of_impossible_sizes_is_refused(old: int, new: int) -> None:
    with pytest.raises(Integrity):
        verify_consistency(old, EMPTY_ROOT, new, EMPTY_ROOT, [])


def test_consistency_with_an_empty_log_needs_the_empty_root() -> None:
    with pytest.raises(Integrity):
        verify_consistency(0, LEAVES[0], 1, LEAVES[0], [])
    with pytest.raises(Integrity):
        verify_consistency(0, EMPTY_ROOT, 0, LEAVES[0], [])


def test_proofs_of_what_is_not_there_are_not_made() -> None:
    with pytest.raises(InvalidInput):
        inclusion_proof(LEAVES[:3], 3)
    with pytest.raises(InvalidInput):
        consistency_proof(LEAVES[:3], 4)


@settings(deadline=None)
@given(
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63),
    st.lists(st.binary(min_size=32, max_size=32), max_size=70),
)
def test_hostile_sizes_and_proofs_are_refused_and_not_worked_on_for_long(
    size: int, index: int, proof: list[bytes]
) -> None:
    with pytest.raises(Integrity):
        verify_inclusion(LEAVES[0], index, size, EMPTY_ROOT, proof)
    with pytest.raises(Integrity):
        verify_consistency(index, flipped(EMPTY_ROOT), size, flipped(EMPTY_ROOT), [*proof, EMPTY_ROOT])
