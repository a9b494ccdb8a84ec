"""`strategic-review` through the real app: started, decided and seen over its HTTP API."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from aos.services.auth.keys import KeyStore
from aos.services.storage.local import open_local
from bench.systems import ROOT, host

type Json = dict[str, Any]

PROPOSALS = ROOT / "apps" / "leadership" / "proposals"
ENDED = ("completed", "failed", "cancelled")
_PATIENCE_S = 60
_POLL_S = 0.02


class Reviews:
    """A client of the app's API, with a key that may do everything."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def start(self, proposal: str) -> str:
        """Start a review; the run's id."""
        value = json.loads((PROPOSALS / f"{proposal}.json").read_text())
        return str(self._post("/workflows/strategic-review/runs", {"input": value})["id"])

    def show(self, run: str) -> Json:
        """The run as it is now."""
        answer = self._http.get(f"/runs/{run}").raise_for_status()
        view: Json = answer.json()
        return view

    def asked(self, run: str) -> Json:
        """Wait until the board is asked; the run as it is then."""
        return self._until(run, "waiting", *ENDED)

    def approve(self, run: Json) -> None:
        """Approve as the board what the run waits for."""
        approval = next(each for each in run["approvals"] if each["state"] == "requested")
        decision = {"approve": True, "reason": "measured", "action_hash": approval["action_hash"]}
        self._post(f"/runs/{run['id']}/approvals/{approval['step']}", decision)

    def cancel(self, run: str) -> None:
        """Ask the run to stop."""
        self._post(f"/runs/{run}/cancel", {"reason": "no longer wanted"})

    def ended(self, run: str) -> Json:
        """Wait for the run's end; the run as it is then."""
        return self._until(run, *ENDED)

    def _until(self, run: str, *states: str) -> Json:
        deadline = time.monotonic() + _PATIENCE_S
        while (view := self.show(run))["status"] not in states:
            if time.monotonic() > deadline:
                raise RuntimeError(f"run {run} is still {view['status']}")
            time.sleep(_POLL_S)
        return view

    def _post(self, path: str, body: Json) -> Json:
        answer = self._http.post(path, json=body).raise_for_status()
        view: Json = answer.json()
        return view


@contextlib.contextmanager
def served(folder: Path, app: Path = ROOT) -> Iterator[Reviews]:
    """Serve the app with fresh data in `folder` and the mock model."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "aos"
    headers = {"Authorization": f"Bearer {asyncio.run(_make_key(data))}"}
    env = {"AOS_DATA": str(data), "AOS_MODEL": "mock", "TASKHUB_NAME": "aos"}
    with (
        host(app, folder / "host", env) as url,
        httpx.Client(base_url=f"{url}/api", headers=headers, timeout=_PATIENCE_S) as http,
    ):
        yield Reviews(http)


async def _make_key(data: Path) -> str:
    storage = open_local(data / "storage")
    text, _ = await KeyStore(storage.rows).create("bench", ["operator", "approver", "viewer"], "default")
    await storage.close()
    return text


def measure_rejected(reviews: Reviews, count: int) -> list[float]:
    """Reviews that the CEO rejects, one after the other; the milliseconds from accepted to ended."""
    return [_took_ms(reviews.ended(reviews.start("loyalty-platform"))) for _ in range(count)]


def measure_launched(reviews: Reviews, count: int) -> list[float]:
    """Reviews that the board approves and that launch; the time until the board answers is left out."""
    took = []
    for _ in range(count):
        waiting = reviews.asked(reviews.start("warehouse-automation"))
        answered = datetime.now(UTC).isoformat()
        reviews.approve(waiting)
        board_ms = 1000 * _seconds(waiting["approvals"][0]["requested_at"], answered)
        took.append(_took_ms(reviews.ended(waiting["id"])) - board_ms)
    return took


def measure_together(reviews: Reviews, count: int) -> float:
    """Reviews that the CEO rejects, all at once; runs per second."""
    runs = [reviews.start("loyalty-platform") for _ in range(count)]
    views = [reviews.ended(run) for run in runs]
    started, ended = min(view["created_at"] for view in views), max(view["ended_at"] for view in views)
    return count / _seconds(started, ended)


def _took_ms(view: Json) -> float:
    if view["status"] != "completed":
        raise RuntimeError(f"run {view['id']} ended as {view['status']}: {view['reason']}")
    return 1000 * _seconds(view["created_at"], view["ended_at"])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
