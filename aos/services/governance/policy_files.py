"""Policy files: read, parsed and checked once, so that a bad policy stops the start and not a run.

Cedar's validator accepts some slips that would silently switch a policy off. They are refused here: a
``has`` that asks for an attribute which is declared nowhere (it is just false), a tool that is not
registered, and a template (it decides nothing until somebody links it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from aos.kernel.errors import InvalidInput, InvalidSetting
from aos.kernel.ids import check_id

_DECLARED = re.compile(r'(?:"([^"]+)"|(\w+))\??\s*:')
_COMMENT = re.compile(r"//.*")


@dataclass(frozen=True, slots=True)
class Policies:
    """Checked policies by id, in Cedar's JSON form."""

    by_id: Mapping[str, Mapping[str, Any]]
    approval_roles: Mapping[str, str]
    """For each policy that asks for approval: the role that must give it."""
    arguments: frozenset[str]
    """The arguments that some policy reads."""

    def parsed(self, *, with_approvals: bool) -> cedarpy.PolicySet:
        """Return the policies, or those among them that no approval can lift, ready to decide."""
        chosen = {
            id_: policy
            for id_, policy in self.by_id.items()
            if with_approvals or id_ not in self.approval_roles
        }
        return cedarpy.PolicySet.from_json_str(
            json.dumps({"staticPolicies": chosen, "templates": {}, "templateLinks": []})
        )


def read_policies(files: Iterable[Path], schema_text: str, tools: Collection[str]) -> Policies:
    """Read and check all policies of ``files`` against the schema and the names of the registered tools.

    Raises:
        InvalidSetting: naming the file, the policy and what is wrong with it.
    """
    schema = cedarpy.Schema.from_str(schema_text)
    declared = {quoted or plain for quoted, plain in _DECLARED.findall(_COMMENT.sub("", schema_text))}
    by_id: dict[str, Mapping[str, Any]] = {}
    origin: dict[str, Path] = {}
    for file in files:
        for id_, policy in _policies_of(file, schema):
            if id_ in origin:
                raise _refused(file, id_, f"the same id is in {origin[id_]}")
            _check_attributes(file, id_, policy, declared)
            _check_tools(file, id_, policy, tools)
            by_id[id_], origin[id_] = policy, file
    roles = {id_: role for id_, policy in by_id.items() if (role := _approval_role(origin[id_], id_, policy))}
    arguments = frozenset(
        node["attr"]
        for policy in by_id.values()
        for node in _accesses(policy["conditions"])
        if _is_arguments(node["left"])
    )
    return Policies(by_id, roles, arguments)


def _policies_of(file: Path, schema: cedarpy.Schema) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"the policy file {file} cannot be read: {error}", file=str(file)) from error
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise InvalidSetting(f"the policy file {file} does not parse: {error}", file=str(file)) from error
    for name, template in parsed["templates"].items():
        raise _refused(file, template["annotations"].get("id") or name, "it is a template")
    ids = {name: _id(file, name, policy) for name, policy in parsed["staticPolicies"].items()}
    for fault in cedarpy.validate_policies(text, schema).errors:
        raise _refused(file, ids[fault.policy_id], fault.error)
    for name, policy in parsed["staticPolicies"].items():
        yield ids[name], policy


def _id(file: Path, name: str, policy: Mapping[str, Any]) -> str:
    id_: str | None = policy.get("annotations", {}).get("id")
    if not id_:
        position = int(name.removeprefix("policy")) + 1
        raise _refused(file, f"number {position}", 'it has no @id("...")')
    try:
        return check_id(id_, "the policy id")
    except InvalidInput as error:
        raise _refused(file, id_, error.message) from error


def _approval_role(file: Path, id_: str, policy: Mapping[str, Any]) -> str | None:
    annotations = policy["annotations"]
    if "requires_approval" not in annotations:
        return None
    if policy["effect"] != "forbid":
        raise _refused(file, id_, "@requires_approval belongs on a forbid, which the approval lifts")
    if not annotations["requires_approval"]:
        raise _refused(file, id_, '@requires_approval("role") needs the role')
    role: str = annotations["requires_approval"]
    return role


def _check_attributes(file: Path, id_: str, policy: Mapping[str, Any], declared: set[str]) -> None:
    for node in _accesses(policy["conditions"]):
        if node["attr"] not in declared:
            what = "argument" if _is_arguments(node["left"]) else "attribute"
            raise _refused(file, id_, f"no such {what}: {node['attr']!r}")
    whole = sum(node == _ARGUMENTS for node in _objects(policy["conditions"]))
    read = sum(_is_arguments(node["left"]) for node in _accesses(policy["conditions"]))
    if whole > read:
        raise _refused(file, id_, "context.arguments is read one argument at a time")


def _check_tools(file: Path, id_: str, policy: Mapping[str, Any], tools: Collection[str]) -> None:
    for node in _objects(policy):
        if node.keys() == {"type", "id"} and node["type"] == "Tool" and node["id"] not in tools:
            raise _refused(file, id_, f"no such tool: {node['id']!r}")


_ARGUMENTS = {".": {"left": {"Var": "context"}, "attr": "arguments"}}


def _is_arguments(node: object) -> bool:
    return node == _ARGUMENTS


def _accesses(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the operands, ``left`` and ``attr``, of each ``.`` and ``has`` in a tree of Cedar JSON."""
    for expression in _objects(node):
        for name in (".", "has"):
            operands = expression.get(name)
            if isinstance(operands, dict) and operands.keys() == {"left", "attr"}:
                yield operands


def _objects(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object in a tree of Cedar JSON."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(child)


def _refused(file: Path, policy: str, why: str) -> InvalidSetting:
    return InvalidSetting(f"policy {policy} in {file}: {why}", file=str(file), policy=policy)
