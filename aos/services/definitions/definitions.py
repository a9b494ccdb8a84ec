"""The definitions that can be started, and the snapshots that runs go by."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from aos.kernel.errors import InvalidDefinition, NotFound
from aos.kernel.workflows.definition import Catalog, WorkflowDefinition, content_hash, parse
from aos.sdk import Application
from aos.services.storage import layout
from aos.services.storage.ports import AlreadyExists, Rows

TABLE = layout.DEFINITIONS


class Definitions:
    """The application's workflow files, and the content-addressed snapshots in storage."""

    def __init__(self, rows: Rows, application: Application) -> None:
        self._rows = rows
        self._application = application
        self._catalog = Catalog(
            agents={agent.name for agent in application.agents},
            tools={tool.name for tool in application.tools},
        )
        self._files: dict[Path, tuple[int, WorkflowDefinition]] = {}
        self._snapshots: dict[str, WorkflowDefinition] = {}

    def current(self, name: str) -> WorkflowDefinition:
        """Return the definition as its file stands now.

        Raises:
            NotFound: naming the workflows that there are.
            InvalidDefinition: its file was edited into something that is not valid.
        """
        definitions = {definition.name: definition for definition in self.all()}
        if name not in definitions:
            known = ", ".join(sorted(definitions)) or "none"
            raise NotFound(f"there is no workflow {name!r}; there is {known}", workflow=name)
        return definitions[name]

    def all(self) -> list[WorkflowDefinition]:
        """Return every definition of the application, by name.

        Raises:
            InvalidDefinition: for a file that is not valid, or a name that stands in two files.
        """
        found: dict[str, Path] = {}
        definitions = []
        for path in self._application.workflow_files:
            definition = self._load(path)
            if definition.name in found:
                other = found[definition.name].name
                raise InvalidDefinition(
                    f"workflow {definition.name!r} stands in {other} and {path.name}",
                    workflow=definition.name,
                )
            found[definition.name] = path
            definitions.append(definition)
        return sorted(definitions, key=lambda definition: definition.name)

    def check(self, source: str | bytes) -> WorkflowDefinition:
        """Read a definition against the application's agents and tools.

        Raises:
            InvalidDefinition: with every problem found.
        """
        return parse(source, self._catalog)

    async def keep(self, definition: WorkflowDefinition) -> str:
        """Keep a snapshot and return the hash that names it."""
        name = content_hash(definition)
        if name not in self._snapshots:
            with contextlib.suppress(AlreadyExists):
                await self._rows.insert(TABLE, definition.name, name, definition.to_json())
            self._snapshots[name] = definition
        return name

    async def snapshot(self, workflow: str, name: str) -> WorkflowDefinition:
        """Return the snapshot with this hash."""
        if name not in self._snapshots:
            row = await self._rows.get(TABLE, workflow, name)
            if row is None:
                raise NotFound(f"there is no snapshot {name} of workflow {workflow!r}", workflow=workflow)
            self._snapshots[name] = _trusted(row.value)
        return self._snapshots[name]

    def _load(self, path: Path) -> WorkflowDefinition:
        changed = path.stat().st_mtime_ns
        known = self._files.get(path)
        if known is None or known[0] != changed:
            try:
                known = (changed, parse(path.read_bytes(), self._catalog))
            except InvalidDefinition as error:
                raise InvalidDefinition(f"{path.name}: {error.message}", **error.details) from None
            self._files[path] = known
        return known[1]


def _trusted(value: dict[str, Any]) -> WorkflowDefinition:
    """Read a snapshot without the catalog: the run goes on even if its application changed since."""
    return WorkflowDefinition.model_validate(value)
