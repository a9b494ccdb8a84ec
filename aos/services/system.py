"""The one place where services are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.core.credentials_async import AsyncTokenCredential

from aos.sdk import Application, load_application
from aos.services.audit.facts import Facts
from aos.services.audit.keyring import Keyring
from aos.services.audit.run_log import RunLog
from aos.services.auth.keys import KeyStore
from aos.services.backends import open_archive, open_keyring, open_model, open_tokens
from aos.services.definitions.definitions import Definitions
from aos.services.effects.effects import Effects
from aos.services.environment.clock import Clock, system_clock
from aos.services.environment.settings import Settings
from aos.services.governance.cedar import CedarEngine
from aos.services.inference.ports import ModelClient
from aos.services.inference.prices import PriceTable, make_price_table
from aos.services.runs.approvals import Approvals
from aos.services.runs.doorbells import Doorbells, Orchestrations
from aos.services.runs.operations import Operations
from aos.services.runs.runs import Runs
from aos.services.runs.values import Values
from aos.services.steps.agent_loop import AgentLoop
from aos.services.steps.preparation import Preparer
from aos.services.steps.rows import StepRows
from aos.services.steps.tool_calls import ToolCalls
from aos.services.steps.worker import StepQueue, StepWorker
from aos.services.storage.memory import StoredMemory
from aos.services.storage.opening import open_storage
from aos.services.storage.storage import Storage

if TYPE_CHECKING:
    from aos.services.auth.entra import EntraTokens


@dataclass(frozen=True, slots=True)
class System:
    """Every service of a process, for one tenant and one application."""

    settings: Settings
    clock: Clock
    application: Application
    storage: Storage
    keyring: Keyring
    keys: KeyStore
    tokens: EntraTokens | None
    """None: bearer tokens are not taken."""
    definitions: Definitions
    values: Values
    runs: Runs
    approvals: Approvals
    effects: Effects
    facts: Facts
    log: RunLog
    doorbells: Doorbells
    operations: Operations
    preparer: Preparer
    steps: StepRows
    worker: StepWorker
    queue: StepQueue
    model: ModelClient


@dataclass(frozen=True, slots=True)
class _Stores:
    """What is kept in rows and blobs, whatever the application."""

    storage: Storage
    values: Values
    facts: Facts
    effects: Effects
    approvals: Approvals
    steps: StepRows


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the application brings, checked: what may run, and what it may do."""

    application: Application
    policy: CedarEngine
    definitions: Definitions


def open_system(
    settings: Settings,
    orchestrations: Orchestrations,
    queue: StepQueue,
    *,
    credential: AsyncTokenCredential | None = None,
    clock: Clock = system_clock,
) -> System:
    """Put the services together; nothing is connected to before it is used.

    ``credential`` is the process's identity, where the settings need one.

    Raises:
        InvalidSetting: a setting, a policy or the application does not hold together.
        InvalidDefinition: one of the application's workflows is not valid.
    """
    application = load_application(settings.application)
    stores = _open_stores(settings, credential, clock)
    rules = _open_rules(application, stores)
    doorbells = Doorbells(stores.storage.rows, orchestrations, clock)
    runs = Runs(
        rows=stores.storage.rows,
        values=stores.values,
        definitions=rules.definitions,
        doorbells=doorbells,
        clock=clock,
        tenant=settings.tenant,
    )
    model = open_model(settings, credential, clock)
    worker = _make_worker(
        settings,
        stores,
        rules,
        runs=runs,
        model=model,
        orchestrations=orchestrations,
        queue=queue,
        clock=clock,
    )
    keyring = open_keyring(settings, credential, clock)
    return System(
        settings=settings,
        clock=clock,
        application=application,
        storage=stores.storage,
        keyring=keyring,
        keys=KeyStore(stores.storage.rows, clock=clock),
        tokens=open_tokens(settings, clock),
        definitions=rules.definitions,
        values=stores.values,
        runs=runs,
        approvals=stores.approvals,
        effects=stores.effects,
        facts=stores.facts,
        log=RunLog(stores.storage, settings.tenant, keyring, open_archive(settings, credential)),
        doorbells=doorbells,
        operations=_make_operations(stores, rules, runs, doorbells),
        preparer=_make_preparer(stores, rules, runs),
        steps=stores.steps,
        worker=worker,
        queue=queue,
        model=model,
    )


def _open_stores(settings: Settings, credential: AsyncTokenCredential | None, clock: Clock) -> _Stores:
    storage = open_storage(settings, credential)
    values = Values(storage.blobs)
    return _Stores(
        storage=storage,
        values=values,
        facts=Facts(storage.rows, values, clock),
        effects=Effects(storage.rows, clock),
        approvals=Approvals(storage.rows, clock),
        steps=StepRows(storage.rows, values),
    )


def _open_rules(application: Application, stores: _Stores) -> _Rules:
    policies = [application.policies] if application.policies else []
    policy = CedarEngine.load(policies, [tool.definition for tool in application.tools])
    definitions = Definitions(stores.storage.rows, application)
    definitions.all()  # a workflow that is not valid is refused now
    return _Rules(application, policy, definitions)


def _make_operations(stores: _Stores, rules: _Rules, runs: Runs, doorbells: Doorbells) -> Operations:
    return Operations(
        definitions=rules.definitions,
        runs=runs,
        approvals=stores.approvals,
        effects=stores.effects,
        doorbells=doorbells,
        policy=rules.policy,
    )


def _make_preparer(stores: _Stores, rules: _Rules, runs: Runs) -> Preparer:
    return Preparer(
        application=rules.application,
        definitions=rules.definitions,
        runs=runs,
        values=stores.values,
        rows=stores.steps,
        approvals=stores.approvals,
        effects=stores.effects,
        facts=stores.facts,
        policy=rules.policy,
    )


def _make_worker(
    settings: Settings,
    stores: _Stores,
    rules: _Rules,
    *,
    runs: Runs,
    model: ModelClient,
    orchestrations: Orchestrations,
    queue: StepQueue,
    clock: Clock,
) -> StepWorker:
    application = rules.application
    calls = ToolCalls(
        application=application,
        rows=stores.steps,
        effects=stores.effects,
        facts=stores.facts,
        policy=rules.policy,
        memory=StoredMemory(stores.storage.rows, settings.tenant, application.name),
        clock=clock,
    )
    loop = AgentLoop(
        application=application,
        model=model,
        prices=_price_every_agent(settings, application, model),
        rows=stores.steps,
        runs=runs,
        calls=calls,
        facts=stores.facts,
        policy=rules.policy,
        clock=clock,
    )
    return StepWorker(
        definitions=rules.definitions,
        runs=runs,
        rows=stores.steps,
        effects=stores.effects,
        facts=stores.facts,
        loop=loop,
        calls=calls,
        queue=queue,
        orchestrations=orchestrations,
        clock=clock,
    )


def _price_every_agent(settings: Settings, application: Application, model: ModelClient) -> PriceTable:
    """The prices; a model without one is refused now."""
    prices = make_price_table(settings.model_price_input, settings.model_price_output)
    for agent in application.agents:
        prices.price(model.model_for(agent.definition.model))
    return prices
