"""Policy decisions by Cedar.

An action is allowed when a ``permit`` applies and no ``forbid`` does. Nothing is allowed by default, and
whatever cannot be evaluated is denied with the errors: Cedar itself would skip a forbid that fails.

Every policy carries ``@id("...")``, unique over all files. A forbid may also carry
``@requires_approval("role")``::

    @id("large-reservations-need-the-board")
    @requires_approval("board")
    forbid (principal, action == Action::"tool.call", resource == Tool::"reserve_funds")
    when {
      context.arguments has amount_usd &&
      context.arguments.amount_usd.greaterThan(decimal("100000.0"))
    };

An approval in that role, of that very action, lifts this forbid and nothing else: the caller puts the
role into ``context["approved_roles"]``. If only such forbids stand in the way, and the action would be
permitted without them, the decision is ``requires_approval``, names those not yet lifted and lists
their roles. An action that no approval could make allowed is denied at once.

The request's context takes the fields of ``Context`` in ``aos.cedarschema``; ``arguments`` are the call's
own arguments, of which policies see those that they read (see ``arguments``). Attributes of entities
come with the request; ``name`` is added to each. Sets that are left out are empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import cedarpy

from aos.kernel.agents.definition import ToolDefinition
from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidInput, InvalidSetting
from aos.kernel.governance.policy import Entity, PolicyDecision, PolicyRequest, Verdict
from aos.services.governance.arguments import ArgumentTypes
from aos.services.governance.policy_files import Policies, read_policies

_PACKAGE = resources.files("aos.services.governance")
_REMEMBERED = 512
_CONTEXT: Mapping[str, Json] = {"labels": [], "approved_roles": [], "approved_by": []}
_ATTRIBUTES: Mapping[str, Mapping[str, Json]] = {
    "User": {"roles": []},
    "Agent": {"tools": []},
    "Run": {"agents": [], "tools": []},
}


class CedarEngine:
    """A ``PolicyEngine``: the policies that AOS ships, and those of the given files, checked at load."""

    def __init__(self, policies: Policies, schema: cedarpy.Schema, arguments: ArgumentTypes) -> None:
        self._policies = policies
        self._schema = schema
        self._arguments = arguments
        self._all = policies.parsed(with_approvals=True)
        self._unconditional = policies.parsed(with_approvals=False)
        # The same few agents, runs and tools are asked about again and again, and to parse them costs
        # as much as to decide.
        self._parse = lru_cache(maxsize=_REMEMBERED)(partial(cedarpy.Entities.from_json_str, schema=schema))

    @staticmethod
    def load(folders: Iterable[Path] = (), tools: Iterable[ToolDefinition] = ()) -> CedarEngine:
        """Read the ``*.cedar`` files of ``folders``; ``tools`` are those whose arguments policies may read.

        Raises:
            InvalidSetting: a folder is missing, or a policy is wrong; names the file, the policy and why.
        """
        tools = tuple(tools)
        arguments = ArgumentTypes.of(tools)
        schema = arguments.declaration() + (_PACKAGE / "aos.cedarschema").read_text(encoding="utf-8")
        with resources.as_file(_PACKAGE / "base.cedar") as base:
            files = [base, *_policy_files(folders)]
            policies = read_policies(files, schema, [tool.name for tool in tools])
        return CedarEngine(policies, cedarpy.Schema.from_str(schema), arguments)

    def decide(self, request: PolicyRequest) -> PolicyDecision:
        """Decide; whatever cannot be evaluated is denied, with the errors."""
        try:
            context, entities = self._context(request), self._entities(request)
        except InvalidInput as error:
            return PolicyDecision(Verdict.DENY, errors=(error.message,))
        answer = self._ask(self._all, request, context, entities)
        forbids = answer.policies
        if answer.verdict is not Verdict.DENY or answer.errors or not forbids:
            return answer
        if any(policy not in self._policies.approval_roles for policy in forbids):
            return answer
        otherwise = self._ask(self._unconditional, request, context, entities)
        return self._with_approvals(forbids, otherwise, context["approved_roles"])

    def _with_approvals(
        self, forbids: tuple[str, ...], otherwise: PolicyDecision, approved: Iterable[str]
    ) -> PolicyDecision:
        """Decide where all of ``forbids`` ask for approval; ``otherwise`` is the decision without them."""
        if not otherwise.allowed:
            return otherwise
        roles = self._policies.approval_roles
        given = frozenset(approved)
        standing = tuple(policy for policy in forbids if roles[policy] not in given)
        if not standing:
            return PolicyDecision(Verdict.ALLOW, tuple(sorted({*otherwise.policies, *forbids})))
        asked = tuple(sorted({roles[policy] for policy in standing}))
        return PolicyDecision(Verdict.REQUIRES_APPROVAL, standing, asked)

    def _ask(
        self,
        policies: cedarpy.PolicySet,
        request: PolicyRequest,
        context: Mapping[str, Any],
        entities: cedarpy.Entities | str,
    ) -> PolicyDecision:
        question = {
            "principal": request.principal.to_json(),
            "action": {"type": "Action", "id": request.action},
            "resource": request.resource.to_json(),
            "context": context,
        }
        answer = cedarpy.is_authorized(question, policies, entities, self._schema)
        errors = tuple(_short(error, entities) for error in answer.diagnostics.errors)
        allowed = answer.decision is cedarpy.Decision.Allow and not errors
        verdict = Verdict.ALLOW if allowed else Verdict.DENY
        return PolicyDecision(verdict, tuple(sorted(answer.diagnostics.reasons)), errors=errors)

    def _context(self, request: PolicyRequest) -> dict[str, Any]:
        given = request.context.get("arguments", {})
        if not isinstance(given, Mapping):
            raise InvalidInput("the arguments are not an object")
        arguments = self._arguments.project(given, self._policies.arguments)
        return {**_CONTEXT, **request.context, "arguments": arguments}

    def _entities(self, request: PolicyRequest) -> cedarpy.Entities | str:
        text = json.dumps(_described(request))
        try:
            return self._parse(text)
        except ValueError:
            return text  # given the text with the question, Cedar answers with what is wrong in it


def _short(error: str, entities: cedarpy.Entities | str) -> str:
    """Return the error without the copy of the entities that Cedar puts before it."""
    return error.removeprefix(f"failed to parse entities from:\n{entities}: ")


def _described(request: PolicyRequest) -> list[dict[str, Any]]:
    named = dict.fromkeys((request.principal, request.resource, *request.entities))
    return [
        {
            "uid": entity.to_json(),
            "attrs": {**_attributes(entity), **request.entities.get(entity, {}), "name": entity.id},
            "parents": [],
        }
        for entity in named
    ]


def _attributes(entity: Entity) -> Mapping[str, Json]:
    return _ATTRIBUTES.get(entity.type, {})


def _policy_files(folders: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InvalidSetting(f"the policy folder {folder} does not exist", folder=str(folder))
        found += sorted(folder.glob("*.cedar"))
    return found
