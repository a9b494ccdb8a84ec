"""The environment that runs the app: the host's own, or one with packages that the app has to itself."""

import os
import venv
from pathlib import Path

import azure_functions_runtime
import httpx
import pytest
from host_process import APPS, HostProcess

from aos.local.host import Host, HostError, HostOptions

APP = """
import sys
import azure.functions as func
import only_in_the_apps_own_environment
app = func.FunctionApp()
@app.route(route="prefix")
def prefix(req: func.HttpRequest) -> str:
    return sys.prefix
"""


def environment(folder: Path, *, with_runtime: bool) -> Path:
    """A virtual environment with a module that no other has; where its Python is."""
    venv.create(folder, symlinks=True, with_pip=False)
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "only_in_the_apps_own_environment.py").touch()
    if with_runtime:
        (packages / "installed.pth").write_text(str(Path(azure_functions_runtime.__file__).parents[1]))
    return folder / "bin" / "python"


def make_app(folder: Path, code: str) -> Path:
    folder.mkdir()
    (folder / "function_app.py").write_text(code)
    (folder / "host.json").write_text('{"version": "2.0"}')
    return folder


def test_an_app_runs_in_the_environment_that_was_named(tmp_path: Path) -> None:
    python = environment(tmp_path / "own", with_runtime=True)
    app = make_app(tmp_path / "app", APP)
    there = os.path.relpath(python, Path(__file__).parents[3])  # the host's current folder
    host = HostProcess(app, tmp_path / "run", "--python", there, "--grace", "1").ready()
    assert httpx.get(f"{host.url}/api/prefix").text == str(tmp_path / "own")
    assert host.stop() == 0


async def refusal(folder: Path, python: Path | None) -> HostError:
    with pytest.raises(HostError) as caught:
        await Host.start(HostOptions(app=folder / "app", data=folder / "data", port=0, python=python))
    return caught.value


async def test_what_an_environment_lacks_is_said_with_the_command_that_installs_it(tmp_path: Path) -> None:
    make_app(tmp_path / "app", APP)
    bare = environment(tmp_path / "bare", with_runtime=False)
    error = await refusal(tmp_path, bare)
    assert f"`{bare} -m pip install azure-functions-runtime==" in error.message
    assert error.message.endswith("uvloop`")
    assert error.code == 2
    elsewhere = await refusal(tmp_path, None)
    assert "No module named 'only_in_the_apps_own_environment'" in elsewhere.message
    assert "with --python" in elsewhere.message


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (None, "cannot run"),
        ("#!/bin/sh\necho hello\n", "does not answer as a Python 3 interpreter does"),
        ("#!/bin/sh\necho '[[3, 11], {}]'\n", "is Python 3.11"),
    ],
)
async def test_what_cannot_run_the_app_is_named(script: str | None, expected: str, tmp_path: Path) -> None:
    make_app(tmp_path / "app", APP)
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    error = await refusal(tmp_path, python)
    assert expected in error.message
    assert str(python) in error.message


async def test_the_older_durable_sdk_is_refused_by_name(tmp_path: Path) -> None:
    python = environment(tmp_path / "own", with_runtime=True)
    packages = next((tmp_path / "own").glob("lib/python3*/site-packages"))
    older = packages / "azure_functions_durable-1.4.0.dist-info"
    older.mkdir()
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: azure-functions-durable\nVersion: 1.4.0\n")
    make_app(tmp_path / "app", (APPS / "classic" / "function_app.py").read_text())
    error = await refusal(tmp_path, python)
    assert "azure-functions-durable 1.4.0 is installed, and this host needs version 2" in error.message
