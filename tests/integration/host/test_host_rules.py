"""host.json's rules for clients of the task hub, and hubs by their names."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import azure.durable_functions as df
import httpx
import pytest
from durabletask.client import OrchestrationStatus

from aos.local.host import Host, HostOptions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, of untyped payloads

APP = """
import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def waiting(context):
    return [context.version, (yield context.wait_for_external_event("go"))]


@app.route(route="raw")
@app.generic_input_binding(arg_name="client", type="durableClient")
def raw(req: func.HttpRequest, client: str) -> str:
    return client
"""
RULES = {
    "defaultVersion": "1.5",
    "versionMatchStrategy": "strict",
    "versionFailureStrategy": "Fail",
    "overridableExistingInstanceStates": "AnyState",
    "throwStatusExceptionsOnRaiseEvent": False,
}


@asynccontextmanager
async def client_of(folder: Path, hub_name: str) -> AsyncIterator[df.DurableFunctionsClient]:
    """A client of a host that was started for it, always over the same data."""
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "function_app.py").write_text(APP)
    durable = {"hubName": hub_name, **RULES}
    (app / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"durableTask": durable}}))
    host = await Host.start(HostOptions(app=app, data=folder / "data", port=0, grace_s=1))
    try:
        async with httpx.AsyncClient() as http:
            configuration = (await http.get(f"{host.url}/api/raw")).text
        client = df.DurableFunctionsClient(configuration)
        yield client
        await client.close()
    finally:
        await host.stop()


async def test_host_json_rules_over_clients_and_each_name_is_a_hub_of_its_own(tmp_path: Path) -> None:
    async with client_of(tmp_path, "First") as client:
        other = await client.schedule_new_orchestration("waiting", version="1.4")
        state = await client.wait_for_orchestration_completion(other, timeout=30)
        assert state is not None
        assert state.runtime_status is OrchestrationStatus.FAILED
        assert state.failure_details is not None
        assert state.failure_details.error_type == "VersionMismatch"
        assert state.failure_details.message == (
            "the orchestration version '1.4' does not match the version '1.5'"
        )
        for given in ("first", "second"):  # AnyState: a running instance is replaced
            await client.schedule_new_orchestration("waiting", input=given, instance_id="same")
            await client.wait_for_orchestration_start("same", timeout=30)
        state = await client.get_orchestration_state("same")
        assert state is not None
        assert state.get_input() == "second"
        await client.raise_orchestration_event("nobody", "go")  # dropped in silence

    async with client_of(tmp_path, "Second") as client:
        assert await client.get_orchestration_state("same") is None
    assert {path.name for path in (tmp_path / "data").glob("hub*.db")} == {"hub.db", "hub-second.db"}

    async with client_of(tmp_path, "first") as client:
        await client.raise_orchestration_event("same", "go", data=7)
        state = await client.wait_for_orchestration_completion("same", timeout=30)
        assert state is not None
        assert state.get_output() == ["1.5", 7]
