"""Showing a run as it goes: a live tree on a terminal, lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from aos.cli import view
from aos.cli.output import clean, one_line, say
from aos.cli.view import UNDO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.tree import Tree

type Json = Mapping[str, Any]

_PIPE_WIDTH = 160
_MARKS = {
    "waiting": ("·", "dim"),
    "completed": ("✔", "green"),
    "skipped": ("-", "dim"),
    "failed": ("✘", "red"),
    "cancelled": ("✘", "yellow"),
    "awaiting_approval": ("?", "yellow"),
    "parked": ("?", "yellow"),
    "retrying": ("↻", "yellow"),
}
_BUSY = ("●", "cyan")
_OF_RUN = {"completed": "green", "failed": "red", "cancelled": "yellow", "waiting": "yellow"}


class Display(AbstractContextManager["Display"], Protocol):
    """Somewhere to look at a run."""

    def show(self, run: Json) -> None:
        """Show the run as it is now."""


class Nowhere:
    """Shows nothing: a program reads along."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, run: Json) -> None:
        """Show nothing."""


class Lines(Nowhere):
    """A line for each thing that changed."""

    def __init__(self) -> None:
        self._before: Json | None = None

    def show(self, run: Json) -> None:
        """Print what is new."""
        if self._before is None:
            say(f"{run['workflow']} {run['id']}")
        for line in view.changes(self._before, run):
            say(line)
        if run["status"] in ("completed", "failed", "cancelled"):
            say(f"  {view.outcome_line(run)}")
        self._before = run


class LiveTree:
    """A tree that is drawn anew where it stands; its last state remains."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - only a terminal needs it

        self._run: Json | None = None
        self._live: Live = Live(get_renderable=self._drawn, console=console(), refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, run: Json) -> None:
        """Draw the run as it is now."""
        self._run = run
        self._live.refresh()

    def _drawn(self) -> Tree | str:
        return "" if self._run is None else tree(self._run)


def display() -> Display:
    """Return what fits standard output."""
    return LiveTree() if sys.stdout.isatty() else Lines()


def console() -> Console:
    """Return a console on standard output that takes text for text, and in a pipe breaks no line early."""
    from rich.console import Console  # noqa: PLC0415 - a fifth of a second

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def tree(run: Json) -> Tree:
    """Return the run as a tree: its steps in order, what they wait for and what undoes them below."""
    from rich.text import Text  # noqa: PLC0415 - as above
    from rich.tree import Tree  # noqa: PLC0415

    head = Text.assemble(
        (clean(run["workflow"]), "bold"),
        f" {run['id']}  ",
        (run["status"], _OF_RUN.get(run["status"], "cyan")),
        f"  {view.took(run)}  {view.money(run['cost_usd'])}  {view.tokens(run)}",
    )
    root = Tree(head, guide_style="dim")
    for stage in view.stages(run["steps"]):
        branch = root if len(stage) == 1 else root.add(Text("side by side", "dim"))
        for step in stage:
            _add_step(branch, run, step)
    if run["reason"]:
        root.add(Text(one_line(run["reason"]), "red"))
    return root


def _add_step(branch: Tree, run: Json, step: Json) -> None:
    from rich.text import Text  # noqa: PLC0415 - as above

    node = branch.add(_part(step["id"], view.what(step), step))
    for approval in run["approvals"]:
        if approval["step"] == step["id"] and approval["state"] == "requested":
            node.add(Text(one_line(approval["prompt"]) or one_line(view.action_text(approval["action"]))))
            node.add(Text(view.how_to_approve(run["id"], approval), "yellow"))
        elif approval["step"] == step["id"]:
            node.add(Text(view.decided(approval), "dim"))
    for effect in view.unknown_effects(run):
        if effect["step"].removesuffix(UNDO) == step["id"]:
            node.add(Text(view.lost_effect(run["id"], effect), "yellow"))
    for undo in run["compensations"]:
        if undo["step"] == step["id"]:
            node.add(_part("undone by", undo["tool"] or "", undo))


def _part(name: str, does: str, part: Json) -> Any:
    from rich.text import Text  # noqa: PLC0415 - as above

    mark, style = _MARKS.get(part["state"], _BUSY)
    attempt = f"  attempt {part['attempt']}" if part["attempt"] > 1 else ""
    cost = f"  {view.money(part['cost_usd'])}" if part.get("cost_usd") else ""
    text = Text.assemble(
        (f"{mark} {name:<14}", style),
        f" {does:<18}",
        (f" {part['state'].replace('_', ' '):<10}", style),
        (f" {view.took(part):>8}{cost}{attempt}", "dim"),
    )
    if part["reason"]:
        text.append(f"  {one_line(part['reason'])}", "red")
    return text
