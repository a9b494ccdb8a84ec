"""The one place where services are put together."""

from __future__ import annotations

from dataclasses import dataclass

from aos.kernel.errors import InvalidSetting
from aos.kernel.governance.audit.checkpoint import Signer
from aos.sdk import Application, load_application
from aos.services.audit.facts import Facts
from aos.services.audit.run_log import RunLog
from aos.services.auth.keys import KeyStore
from aos.services.definitions.definitions import Definitions
from aos.services.effects.effects import Effects
from aos.services.environment.clock import Clock, system_clock
from aos.services.environment.settings import Settings
from aos.services.governance.cedar import CedarEngine
from aos.services.governance.signer import LocalSigner
from aos.services.inference.factory import make_model_client
from aos.services.inference.ports import ModelClient
from aos.services.inference.prices import make_price_table
from aos.services.messaging.steps import ServiceBusStepQueue
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
from aos.services.storage.local import open_local
from aos.services.storage.memory import StoredMemory
from aos.services.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class System:
    """Every service of a process, for one tenant and one application."""

    settings: Settings
    clock: Clock
    application: Application
    storage: Storage
    signer: Signer
    keys: KeyStore
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


def open_system(
    settings: Settings, orchestrations: Orchestrations, queue: StepQueue, *, clock: Clock = system_clock
) -> System:
    """Put the services together; nothing is connected to before it is used.

    Raises:
        InvalidSetting: a setting, a policy or the application does not hold together.
        InvalidDefinition: one of the application's workflows is not valid.
    """
    application = load_application(settings.application)
    storage = open_storage(settings)
    rows = storage.rows
    policies = [application.policies] if application.policies else []
    policy = CedarEngine.load(policies, [tool.definition for tool in application.tools])
    definitions = Definitions(rows, application)
    definitions.all()
    values = Values(storage.blobs)
    facts, effects = Facts(rows, values, clock), Effects(rows, clock)
    approvals, doorbells = Approvals(rows, clock), Doorbells(rows, orchestrations, clock)
    runs = Runs(
        rows=rows,
        values=values,
        definitions=definitions,
        doorbells=doorbells,
        clock=clock,
        tenant=settings.tenant,
    )
    steps = StepRows(rows, values)
    memory = StoredMemory(rows, settings.tenant, application.name)
    calls = ToolCalls(
        application=application,
        rows=steps,
        effects=effects,
        facts=facts,
        policy=policy,
        memory=memory,
        clock=clock,
    )
    model = _model(settings)
    prices = make_price_table(settings.model_price_input, settings.model_price_output)
    for agent in application.agents:
        prices.price(model.model_for(agent.definition.model))  # a model without a price is refused now
    loop = AgentLoop(
        application=application,
        model=model,
        prices=prices,
        rows=steps,
        runs=runs,
        calls=calls,
        facts=facts,
        policy=policy,
        clock=clock,
    )
    signer = LocalSigner.open(settings.data / "signing-key.pem")
    return System(
        settings=settings,
        clock=clock,
        application=application,
        storage=storage,
        signer=signer,
        keys=KeyStore(rows, clock=clock),
        definitions=definitions,
        values=values,
        runs=runs,
        approvals=approvals,
        effects=effects,
        facts=facts,
        log=RunLog(storage, settings.tenant, signer),
        doorbells=doorbells,
        operations=Operations(
            definitions=definitions,
            runs=runs,
            approvals=approvals,
            effects=effects,
            doorbells=doorbells,
            policy=policy,
        ),
        preparer=Preparer(
            application=application,
            definitions=definitions,
            runs=runs,
            values=values,
            rows=steps,
            approvals=approvals,
            effects=effects,
            facts=facts,
            policy=policy,
        ),
        steps=steps,
        worker=StepWorker(
            definitions=definitions,
            runs=runs,
            rows=steps,
            effects=effects,
            facts=facts,
            loop=loop,
            calls=calls,
            queue=queue,
            orchestrations=orchestrations,
            clock=clock,
        ),
        queue=queue,
        model=model,
    )


def open_storage(settings: Settings) -> Storage:
    """Open the configured storage backend.

    Raises:
        InvalidSetting: the Azure backend lacks its connection.
    """
    if settings.storage == "local":
        return open_local(settings.data / "storage")
    if settings.storage_connection is None:
        raise InvalidSetting(
            "AzureWebJobsStorage is missing: AOS_STORAGE=azure keeps its rows and blobs there"
        )
    from aos.services.storage.azure import ConnectionString, open_azure  # noqa: PLC0415 - half a second

    return open_azure(ConnectionString(settings.storage_connection))


def open_queue(settings: Settings) -> ServiceBusStepQueue:
    """Return the queue of steps; ``InvalidSetting`` if its connection is missing."""
    if settings.service_bus_connection is None:
        raise InvalidSetting("ServiceBusConnection is missing: steps are sent over Service Bus")
    return ServiceBusStepQueue(settings.service_bus_connection.get_secret_value())


def _model(settings: Settings) -> ModelClient:
    if settings.model == "mock":
        return make_model_client("mock")
    return make_model_client(
        "openai", model=settings.model, base_url=settings.model_base_url, api_key=settings.model_api_key
    )
