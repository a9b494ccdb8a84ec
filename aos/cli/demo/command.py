"""The command: a host of its own, three reviews, and a judgement."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aos.cli.demo.outcome import EXPECTED_DECISIONS, Outcome, differences
from aos.cli.demo.report import as_json, print_outcome
from aos.cli.demo.review import read_proposals, review
from aos.cli.demo.serving import HOST_LOG, serving
from aos.cli.display import Nowhere, display
from aos.cli.exits import ExitCode
from aos.cli.files import write_bytes
from aos.cli.machine import require_runtime
from aos.cli.output import complain, document, say
from aos.cli.session import AsJson, wants_json
from aos.cli.up import default_app
from aos.kernel.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from aos.sdk.client import AosClient

_MOCK_TIMEOUT_S, _MODEL_TIMEOUT_S = 60.0, 900.0


def demo(
    context: typer.Context,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data of the host.")] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where the host keeps state; must be empty; is kept."),
    ] = None,
    json: AsJson = False,
) -> int:
    """Review three business proposals from HTTP to verified dossiers, on a host of its own.

    Dossiers and the key that verifies them are written to var/. The model is a mock, unless AOS_MODEL
    names another.
    """
    from aos.services.environment.settings import load_settings  # noqa: PLC0415 - not for `--help`

    require_runtime()
    load_settings()  # before anything is started or written
    app, folder = default_app(), Path("var")
    proposals = _proposals(app)
    place = _fresh(data, folder)
    code: int = ExitCode.INTERRUPTED
    try:
        code = _run(_demo(app, place, folder, proposals, json=wants_json(context, json)))
    except Exception:
        code = ExitCode.FAILED
        raise
    finally:
        if code == ExitCode.FAILED:
            sys.stderr.write(f"the host's data, and its log {HOST_LOG}, are kept in {place}\n")
        elif data is None and not keep:
            shutil.rmtree(place, ignore_errors=True)
    return code


def _proposals(app: Path) -> dict[str, Any]:
    """Return the proposals by name.

    Raises:
        InvalidInput: there are none below the app.
    """
    folder = app / "apps" / "leadership" / "proposals"
    proposals = read_proposals(folder)
    if not proposals:
        raise InvalidInput(f"there are no proposals in {folder}: run the demonstration in AOS's own folder")
    return proposals


def _fresh(data: Path | None, folder: Path) -> Path:
    """Return an empty folder for the host.

    Raises:
        InvalidInput: there cannot be one, or something is in it.
    """
    try:
        folder.mkdir(exist_ok=True)
        if data is None:
            return Path(tempfile.mkdtemp(prefix="demo-", dir=folder))
        data.mkdir(parents=True, exist_ok=True)
        if any(data.iterdir()):
            raise InvalidInput(f"{data} is not empty: the demonstration starts with fresh data")
    except OSError as error:
        raise InvalidInput(f"cannot write {error.filename}: {error.strerror}") from error
    return data


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run on the loop that the host is tested on; SIGTERM ends it as orderly as Ctrl-C does."""
    import uvloop  # noqa: PLC0415 - comes with the local host, which this alone needs

    async def stoppable() -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(stoppable(), loop_factory=uvloop.new_event_loop)
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


async def _demo(app: Path, place: Path, folder: Path, proposals: dict[str, Any], *, json: bool) -> int:
    from aos.sdk.client import AosClient  # noqa: PLC0415 - not for `--help`

    begun = time.monotonic()
    model = os.environ.get("AOS_MODEL") or "mock"
    if not json:
        note = " (it only calls the tools and repeats what they say)" if model == "mock" else ""
        say(f"AOS reviews {len(proposals)} business proposals. Model: {model}{note}\n")
    async with serving(app, place) as (url, key), AosClient(url, key) as client:
        if not json:
            say(f"AOS is up at {url} after {time.monotonic() - begun:.1f} s\n")
        reviews = _Reviews(client, folder, mock=model == "mock", json=json)
        await reviews.run(proposals)
    return reviews.judge(time.monotonic() - begun)


class _Reviews:
    """The reviews, one after the other."""

    def __init__(self, client: AosClient, folder: Path, *, mock: bool, json: bool) -> None:
        self._client = client
        self._folder = folder
        self._mock = mock
        self._json = json
        self._outcomes: list[Outcome] = []

    async def run(self, proposals: dict[str, Any]) -> None:
        """Review each proposal and print what came of it.

        Raises:
            Unavailable: a review takes far longer than it should.
        """
        key = self._folder / "audit-key.pem"
        pem = (await self._client.audit_key()).encode()
        write_bytes(str(key), pem)
        timeout_s = _MOCK_TIMEOUT_S if self._mock else _MODEL_TIMEOUT_S
        for number, (name, proposal) in enumerate(proposals.items(), 1):
            if not self._json:
                say(f"{number} of {len(proposals)}: {proposal['title']}")
            screen = Nowhere() if self._json else display()
            try:
                async with asyncio.timeout(timeout_s):
                    outcome = await review(
                        self._client, name, proposal, screen=screen, folder=self._folder, pem=pem
                    )
            except TimeoutError as error:
                raise Unavailable(f"the review of {name} has not ended after {timeout_s:g} s") from error
            self._outcomes.append(outcome)
            if not self._json:
                print_outcome(outcome, self._folder)

    def judge(self, seconds: float) -> int:
        """Print whether all came out as it should; return the exit code."""
        found = {name: ["there is no such proposal"] for name in EXPECTED_DECISIONS}
        found |= {each.name: list(differences(each, mock=self._mock)) for each in self._outcomes}
        if self._json:
            proposals = [as_json(each, self._folder, found[each.name]) for each in self._outcomes]
            document({"ok": not any(found.values()), "seconds": round(seconds, 1), "proposals": proposals})
        for name, problems in found.items():
            for problem in problems:
                complain("unexpected_outcome", f"{name}: {problem}")
        if any(found.values()):
            return ExitCode.FAILED
        if not self._json:
            key = self._folder / "audit-key.pem"
            say(f"All came out as it should, in {seconds:.1f} s. Verify a dossier yourself:")
            dossier = self._folder / f"dossier-{self._outcomes[0].name}.jsonl"
            say(f"  {_program()} audit verify {dossier} --key {key}")
        return ExitCode.OK


def _program() -> str:
    """Return how to call this program from here: in a virtual environment that is not active, by its path."""
    here = Path(sys.executable).with_name("aos")
    if shutil.which("aos") or not here.is_file():
        return "aos"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)
