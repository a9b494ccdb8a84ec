import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from aos.kernel.errors import InvalidDefinition, InvalidInput, InvalidSetting, NotFound
from aos.sdk import Agent, Application, load_application, tool


@tool(effect="none")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


class Answer(BaseModel):
    total: int
    note: str | None = None


def agent(name: str = "adder", **options: Any) -> Agent:
    return Agent(name, **{"description": "Adds.", "instructions": "Add.", "tools": [add]} | options)


def test_an_agents_definition_carries_what_was_declared() -> None:
    definition = agent(
        output=Answer, model="small", max_turns=3, max_output_tokens=9, reserve_usd=0.5
    ).definition
    assert (definition.name, definition.tools, definition.model) == ("adder", ("add",), "small")
    assert (definition.max_turns, definition.max_output_tokens, definition.reserve_usd) == (3, 9, 0.5)
    assert definition.output is not None
    assert definition.output["required"] == ["total"]
    assert definition.output["additionalProperties"] is False
    assert agent().definition.output is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_turns": 0}, "max_turns is below 1"),
        ({"max_output_tokens": 0}, "max_output_tokens is below 1"),
        ({"reserve_usd": -1}, "reserve_usd -1 is not an amount"),
        ({"reserve_usd": float("nan")}, "reserve_usd nan"),
        ({"instructions": " "}, "has no instructions"),
        ({"tools": [add, add]}, "names a tool twice"),
        ({"output": {"type": "array"}}, "not the schema of an object"),
        ({"output": {"type": "objekt"}}, "not a JSON Schema"),
    ],
)
def test_an_agent_with_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidDefinition, match=says):
        agent(**options)


def test_names_have_the_form_of_an_id() -> None:
    with pytest.raises(InvalidInput, match="agent 'The Adder'"):
        agent("The Adder")
    with pytest.raises(InvalidInput, match="application 'a/b'"):
        Application("a/b")


def test_an_application_finds_its_parts_by_name() -> None:
    adder = agent()
    application = Application("sums", agents=[adder], tools=[add])
    assert application.agent("adder") is adder
    assert application.tool("add") is add
    with pytest.raises(NotFound, match="has no tool 'sub'; it has add"):
        application.tool("sub")
    with pytest.raises(NotFound, match="has no agent 'subtractor'; it has adder"):
        application.agent("subtractor")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"agents": [agent(), agent()], "tools": [add]}, "two agents named 'adder'"),
        ({"tools": [add, add]}, "two tools named 'add'"),
        ({"agents": [agent()]}, "agent 'adder' uses tool 'add', which is not among its tools"),
        ({"workflows": Path("nowhere")}, "workflows folder nowhere is not there"),
        ({"policies": Path(__file__)}, "policies folder .* is not there"),
    ],
)
def test_an_inconsistent_application_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidDefinition, match=says):
        Application("sums", **options)


def test_an_application_lists_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.txt", "z.cedar"):
        (tmp_path / name).touch()
    application = Application("sums", workflows=tmp_path, policies=tmp_path)
    assert [file.name for file in application.workflow_files] == ["a.yaml", "b.yaml"]
    assert [file.name for file in application.policy_files] == ["z.cedar"]
    assert Application("sums").workflow_files == ()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_is_loaded_by_name(modules: Path) -> None:
    (modules / "sums_app.py").write_text(
        "from aos.sdk import Application\napplication = Application('sums')\n"
    )
    assert load_application("sums_app").name == "sums"


@pytest.mark.parametrize("source", ["", "application = 3\n"])
def test_a_module_without_an_application_is_refused(modules: Path, source: str) -> None:
    (modules / "empty_app.py").write_text(source)
    with pytest.raises(InvalidSetting, match="the module has no `application = Application"):
        load_application("empty_app")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_app", "no module 'no_such_app'"),
        ("no_such.app", "no module 'no_such'"),
        ("aos.no_such", "no module 'aos.no_such'"),
        ("", "not the name of a module"),
        (".relative", "not the name of a module"),
    ],
)
def test_a_module_that_is_not_there_is_named(name: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says):
        load_application(name)


def test_what_an_application_itself_fails_to_import_is_its_own_error(modules: Path) -> None:
    (modules / "broken_app.py").write_text("import a_library_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_library_not_installed"):
        load_application("broken_app")


def test_an_error_in_the_module_passes_through(modules: Path) -> None:
    (modules / "raising_app.py").write_text("raise ValueError('mine')\n")
    with pytest.raises(ValueError, match="mine"):
        load_application("raising_app")
