"""A company's leadership as an application: three agents review business proposals, the board approves.

Application authors can read it as the example of one: typed functions become tools (`finance`,
`delivery`, `decision`, `treasury`, `projects`), agents are given some of them (`agents`), a workflow
puts the work in order (``workflows/``), and policies say who may do what (``policies/``).
"""

from pathlib import Path

from aos.sdk import Application
from apps.leadership.agents import ceo, cfo, cto
from apps.leadership.decision import weigh
from apps.leadership.delivery import delivery_risk
from apps.leadership.finance import net_present_value, payback_period
from apps.leadership.projects import launch_project
from apps.leadership.treasury import release_funds, reserve_funds

_HERE = Path(__file__).parent

application = Application(
    "leadership",
    agents=[cfo, cto, ceo],
    tools=[
        net_present_value,
        payback_period,
        delivery_risk,
        weigh,
        reserve_funds,
        release_funds,
        launch_project,
    ],
    workflows=_HERE / "workflows",
    policies=_HERE / "policies",
)
