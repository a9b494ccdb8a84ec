"""The agents of the tests. The mock model calls each tool once, as soon as it finds its arguments."""

from pydantic import BaseModel

from aos.sdk import Agent
from lab.tools import charge, lethal, look, open_vault


class Bill(BaseModel):
    """What the clerk answers."""

    receipt: str
    rationale: str


class Report(BaseModel):
    """What the others answer."""

    rationale: str


clerk = Agent(
    "clerk",
    description="Looks, and charges what it is told to.",
    instructions="Look, then charge the amount. Report the receipt.",
    tools=[look, charge],
    output=Bill,
    reserve_usd=0.02,
)
snoop = Agent(
    "snoop",
    description="Tries to open the vault.",
    instructions="Open the vault.",
    tools=[open_vault],
    output=Report,
    reserve_usd=0.02,
)
reckless = Agent(
    "reckless",
    description="Ends every worker that it works in.",
    instructions="Do it.",
    tools=[lethal],
    output=Report,
    reserve_usd=0.02,
)
