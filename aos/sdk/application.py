"""An application: the agents, tools, workflows and policies that are deployed together."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from aos.kernel.errors import InvalidDefinition, InvalidSetting, NotFound
from aos.kernel.ids import check_id
from aos.sdk.agents import Agent
from aos.sdk.tools import AnyTool


class Application:
    """What AOS runs for one team: named agents and tools, and two folders of files.

    Args:
        name: of the form `[a-z0-9_-]{1,64}`; it also names the application's part of memory.
        agents: every agent that workflows may name.
        tools: every tool that agents and workflows may name.
        workflows: the folder whose ``*.yaml`` are workflow definitions.
        policies: the folder whose ``*.cedar`` are policies; None: AOS denies every action.

    Raises:
        InvalidDefinition: for a name used twice, an agent's tool that is not listed in ``tools``,
            or a folder that is not there.
    """

    def __init__(
        self,
        name: str,
        *,
        agents: Sequence[Agent] = (),
        tools: Sequence[AnyTool] = (),
        workflows: Path | None = None,
        policies: Path | None = None,
    ) -> None:
        self.name = check_id(name, "application")
        self.agents = tuple(agents)
        self.tools = tuple(tools)
        self.workflows = _folder(name, "workflows", workflows)
        self.policies = _folder(name, "policies", policies)
        _check_distinct(name, "agent", (agent.name for agent in agents))
        _check_distinct(name, "tool", (tool.name for tool in tools))
        self._agents = {agent.name: agent for agent in agents}
        self._tools = {tool.name: tool for tool in tools}
        for agent in agents:
            _check_tools(name, agent, self._tools)

    def __repr__(self) -> str:
        return f"Application({self.name!r})"

    def agent(self, name: str) -> Agent:
        """Return the agent of that name.

        Raises:
            NotFound: naming the agents that there are.
        """
        if name not in self._agents:
            known = ", ".join(sorted(self._agents)) or "none"
            raise NotFound(f"application {self.name} has no agent {name!r}; it has {known}", agent=name)
        return self._agents[name]

    def tool(self, name: str) -> AnyTool:
        """Return the tool of that name.

        Raises:
            NotFound: naming the tools that there are.
        """
        if name not in self._tools:
            known = ", ".join(sorted(self._tools)) or "none"
            raise NotFound(f"application {self.name} has no tool {name!r}; it has {known}", tool=name)
        return self._tools[name]

    @property
    def workflow_files(self) -> tuple[Path, ...]:
        """The workflow definitions, sorted by name."""
        return () if self.workflows is None else tuple(sorted(self.workflows.glob("*.yaml")))

    @property
    def policy_files(self) -> tuple[Path, ...]:
        """The policies, sorted by name."""
        return () if self.policies is None else tuple(sorted(self.policies.glob("*.cedar")))


def load_application(module: str) -> Application:
    """Import a module, such as ``apps.leadership``, and return its attribute ``application``.

    Raises:
        InvalidSetting: when there is no such module, or it has no application. What the module
            itself raises while it is imported passes through.
    """
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that the application itself fails to import is the application's own error.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise InvalidSetting(f"application {module!r}: there is no module {error.name!r}") from error
    except (TypeError, ValueError) as error:
        if not module or module.startswith("."):
            raise InvalidSetting(f"application {module!r} is not the name of a module") from error
        raise
    application = getattr(imported, "application", None)
    if not isinstance(application, Application):
        raise InvalidSetting(f"application {module!r}: the module has no `application = Application(...)`")
    return application


def _folder(application: str, what: str, folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise InvalidDefinition(f"application {application}: {what} folder {folder} is not there")
    return folder


def _check_distinct(application: str, what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidDefinition(f"application {application} has two {what}s named {name!r}")
        seen.add(name)


def _check_tools(application: str, agent: Agent, known: dict[str, AnyTool]) -> None:
    for tool in agent.tools:
        if known.get(tool.name) is not tool:
            problem = f"agent {agent.name!r} uses tool {tool.name!r}, which is not among its tools"
            raise InvalidDefinition(f"application {application}: {problem}", agent=agent.name, tool=tool.name)
