"""The dependency graph of a workflow's steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter


def find_cycle(dependencies: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the ids along one cycle, first and last the same, or nothing if there is none."""
    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return ()


def topological_order(dependencies: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return all ids, each after those it depends on; graphlib.CycleError if there is a cycle."""
    return tuple(TopologicalSorter(dependencies).static_order())
