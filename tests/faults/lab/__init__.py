"""An application for tests: every kind of tool, agents that use them, and workflows that go wrong."""

import os
from pathlib import Path

from aos.sdk import Application
from lab.agents import clerk, reckless, snoop
from lab.tools import (
    book,
    charge,
    guarded,
    lethal,
    lethal_charge,
    look,
    open_vault,
    refund,
    refuse,
    unbook,
    wire,
)

_HERE = Path(__file__).parent

application = Application(
    "lab",
    agents=[clerk, snoop, reckless],
    tools=[
        look,
        charge,
        refund,
        wire,
        book,
        unbook,
        refuse,
        guarded,
        open_vault,
        lethal,
        lethal_charge,
    ],
    workflows=Path(os.environ.get("LAB_WORKFLOWS", _HERE / "workflows")),
    policies=_HERE / "policies",
)
