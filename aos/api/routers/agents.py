"""Agents: what they are, and how they are."""

from __future__ import annotations

from fastapi import APIRouter

from aos.api.access import Agents, Served, Viewer
from aos.api.models import AgentList
from aos.api.problems import problem_responses
from aos.api.views import show_agent

router = APIRouter(prefix="/agents", tags=["agents"])


@router.get("", responses=problem_responses(401, 403))
async def list_agents(system: Served, agents: Agents, _: Viewer) -> AgentList:
    """List the application's agents with the states of their instances."""
    states = await agents.states()
    ordered = sorted(system.application.agents, key=lambda agent: agent.name)
    return AgentList(agents=[show_agent(agent.definition, states.get(agent.name)) for agent in ordered])
