"""The Merkle tree of RFC 6962 (section 2.1), over SHA-256.

Whole-tree functions take the leaf hashes. ``Frontier`` holds just what appending needs, at most one
hash a bit of the size, so a log grows without being read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from aos.kernel.errors import Integrity, InvalidInput

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256().digest()
MAX_SIZE = 2**63 - 1
"""The largest tree that a proof is checked for: it bounds the work that a hostile size can ask for."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf; its prefix keeps a leaf from passing for an inner node."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The roots of the perfect subtrees that a tree of ``size`` leaves falls into, largest first."""

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """Return the frontier with one leaf hash more."""
        nodes, node, size = list(self.nodes), leaf, self.size
        while size & 1:
            node = node_hash(nodes.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*nodes, node))

    @property
    def root(self) -> bytes:
        """The root hash of the whole tree."""
        if not self.nodes:
            return EMPTY_ROOT
        *rest, root = self.nodes
        for node in reversed(rest):
            root = node_hash(node, root)
        return root

    def to_json(self) -> dict[str, Any]:
        """Return ``{"size", "nodes"}``, the nodes in hex."""
        return {"size": self.size, "nodes": [node.hex() for node in self.nodes]}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` gave.

        Raises:
            Integrity: if it is not a frontier.
        """
        match value:
            case {"size": int(size), "nodes": list(nodes), **rest} if not rest and type(size) is int:
                hashes = tuple(_hash_from_hex(node) for node in nodes)
                if 0 <= size <= MAX_SIZE and len(hashes) == size.bit_count():
                    return cls(size, hashes)
        raise Integrity("the stored frontier of the log is malformed")


def _hash_from_hex(value: Any) -> bytes:
    if isinstance(value, str) and len(value) == 2 * HASH_SIZE:
        try:
            digest = bytes.fromhex(value)
        except ValueError:
            digest = b""
        if digest.hex() == value:
            return digest
    raise Integrity("the stored frontier of the log holds a malformed hash")


def frontier_of(hashes: Sequence[bytes]) -> Frontier:
    """Return the frontier of the tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in hashes:
        frontier = frontier.append(leaf)
    return frontier


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes."""
    return frontier_of(hashes).root


def _split(size: int) -> int:
    """Return the largest power of two below ``size``: the leaves of the left subtree."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path of RFC 6962, 2.1.1, from leaf ``index`` up to the root.

    Raises:
        InvalidInput: if the tree has no such leaf.
    """
    if not 0 <= index < len(hashes):
        raise InvalidInput(f"a log of {len(hashes)} records has no record {index}")
    return _path(hashes, index)


def _path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = _split(len(hashes))
    if index < k:
        return [*_path(hashes[:k], index), root_of(hashes[k:])]
    return [*_path(hashes[k:], index - k), root_of(hashes[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``size`` leaves with this root holds the leaf hash at ``index``.

    Raises:
        Integrity: if the proof does not show it.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise Integrity(f"a tree of size {size} has no leaf {index}")
    _check_hashes(proof)
    if _climb(leaf, index, size, proof) != root:
        raise Integrity(f"the inclusion proof of leaf {index} does not lead to the root")


def _climb(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that the path leads to; ``proof`` ends in the sibling next to that root."""
    if size == 1:
        _expect_length(proof, 0)
        return leaf
    rest, sibling = _pop(proof)
    k = _split(size)
    if index < k:
        return node_hash(_climb(leaf, index, k, rest), sibling)
    return node_hash(sibling, _climb(leaf, index - k, size - k, rest))


def consistency_proof(hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof of RFC 6962, 2.1.2, that the tree over ``hashes`` extends its first ``old_size``.

    Raises:
        InvalidInput: if the tree was never of that size.
    """
    if not 0 <= old_size <= len(hashes):
        raise InvalidInput(f"a log of {len(hashes)} records never had {old_size}")
    return _subproof(hashes, old_size, known=True) if old_size else []


def _subproof(hashes: Sequence[bytes], old_size: int, *, known: bool) -> list[bytes]:
    """``known``: this subtree, at its old size, is the old tree, whose root the verifier has."""
    if old_size == len(hashes):
        return [] if known else [root_of(hashes)]
    k = _split(len(hashes))
    if old_size <= k:
        return [*_subproof(hashes[:k], old_size, known=known), root_of(hashes[k:])]
    return [*_subproof(hashes[k:], old_size - k, known=False), root_of(hashes[:k])]


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the new tree holds the old tree's leaves, in their places, before its own.

    Raises:
        Integrity: if the proof does not show it.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise Integrity(f"a tree of size {new_size} cannot extend one of size {old_size}")
    _check_hashes(proof)
    if old_size == 0:
        _expect_length(proof, 0)
        expected = (EMPTY_ROOT, EMPTY_ROOT if new_size == 0 else new_root)
    else:
        expected = _rebuild(old_size, new_size, old_root, proof)
    if expected != (old_root, new_root):
        raise Integrity(f"the log of size {new_size} does not extend the log of size {old_size}")


def _rebuild(old: int, new: int, known: bytes | None, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the roots that a subtree had at its old and has at its new size.

    ``known`` is the old root while the subtree, at its old size, is the old tree; else None.
    """
    if old == new:
        if known is not None:
            _expect_length(proof, 0)
            return known, known
        _expect_length(proof, 1)
        return proof[0], proof[0]
    rest, sibling = _pop(proof)
    k = _split(new)
    if old <= k:
        before, after = _rebuild(old, k, known, rest)
        return before, node_hash(after, sibling)
    before, after = _rebuild(old - k, new - k, None, rest)
    return node_hash(sibling, before), node_hash(sibling, after)


def _check_hashes(proof: Sequence[bytes]) -> None:
    if any(len(node) != HASH_SIZE for node in proof):
        raise Integrity("a proof holds something that is not a hash")


def _expect_length(proof: Sequence[bytes], length: int) -> None:
    if len(proof) != length:
        raise Integrity("the proof is too long" if len(proof) > length else "the proof is too short")


def _pop(proof: Sequence[bytes]) -> tuple[Sequence[bytes], bytes]:
    if not proof:
        raise Integrity("the proof is too short")
    return proof[:-1], proof[-1]
