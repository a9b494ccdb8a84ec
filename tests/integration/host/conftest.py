import json
from collections.abc import Iterator

import pytest
from bus_client import BUS_SETTINGS
from host_process import APPS, HostProcess


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    host = HostProcess(APPS / "web", tmp_path_factory.mktemp("web"), "--grace", "1").ready()
    yield host
    host.stop()


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    env = {
        "OVERRIDDEN": "from the environment",
        "EXTRA": "from the environment",
        "AzureWebJobs.switched_off.Disabled": "true",
        "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "6000000",
        "AzureFunctionsJobHost__extensions__durableTask__hubName": "FromEnvironment",
    }
    host = HostProcess(
        APPS / "classic", tmp_path_factory.mktemp("classic"), "--verbose", "--grace", "1", env=env
    ).ready()
    yield host
    host.stop()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    env = {"JOBS_QUEUE": "jobs", "TICK": "*/2 * * * * *", "AzureWebJobsDisableHomepage": "true"}
    host = HostProcess(APPS / "work", tmp_path_factory.mktemp("work"), "--grace", "1", env=env).ready()
    yield host
    host.stop()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    folder = tmp_path_factory.mktemp("bus")
    host = HostProcess(APPS / "bus", folder, "--grace", "1", env=BUS_SETTINGS).ready()
    yield host
    host.stop()


@pytest.fixture(scope="package")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """An app with every kind of durable function, which asks for keys; `http` has the master key."""
    folder = tmp_path_factory.mktemp("durable")
    env = {name: str(folder / name.lower()) for name in ("EXPORTS", "PAYLOADS", "POLLS")}
    env["WEBSITE_TIME_ZONE"] = "Europe/Vienna"
    host = HostProcess(APPS / "durable", folder, "--enable-auth", "--grace", "1", env=env).ready()
    keys = json.loads((folder / "data" / "keys.json").read_text())
    host.http.headers["x-functions-key"] = keys["masterKey"]
    yield host
    host.stop()
