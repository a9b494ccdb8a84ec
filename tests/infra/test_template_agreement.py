"""The templates and the app name the same things; where one side lacks something, these tests say what."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bicep_program import Made
from deployments import INFRA, KINDS, ROOT, app_settings, deployment
from facts import (
    Facts,
    app_facts,
    disagreements,
    indexed_functions,
    infra_facts,
    named_in_code,
    role_assignments,
)

from aos.functions.standby import STOPPED, check_triggers
from aos.kernel.errors import InvalidSetting
from aos.services.auth import principal
from aos.services.backends import open_queue
from aos.services.environment.identity import open_credential
from aos.services.environment.settings import load_settings
from aos.services.storage import layout
from aos.services.system import open_system

SITE = "br/public:avm/res/web/site"


@pytest.fixture(scope="module")
def app() -> Facts:
    return app_facts(indexed_functions(), (ROOT / "host.json").read_text())


@pytest.fixture(scope="module")
def infra() -> Facts:
    return infra_facts(INFRA)


def test_the_templates_name_what_the_app_names(app: Facts, infra: Facts) -> None:
    assert disagreements(app, infra) == []


def test_a_standby_starts_with_the_settings_that_stop_its_triggers_and_not_without(
    app: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(STOPPED) == app.stopped_on_standby
    standing_by = next(
        app_settings(site) for site in deployment("standby").of(SITE) if "aos-standby" in str(site.params)
    )
    for name, value in standing_by.items():
        monkeypatch.setenv(name, value)
    check_triggers(load_settings())
    for name in STOPPED:
        with monkeypatch.context() as without:
            without.delenv(f"AzureWebJobs.{name}.Disabled")
            with pytest.raises(InvalidSetting, match=f"set AzureWebJobs.{name}.Disabled to true"):
                check_triggers(load_settings())


def test_whatever_the_app_stops_naming_is_noticed(app: Facts, infra: Facts) -> None:
    unnoticed, tried = [], 0
    for field in dataclasses.fields(Facts):
        for item in getattr(app, field.name):
            tried += 1
            without = dataclasses.replace(app, **{field.name: getattr(app, field.name) - {item}})
            if not any(str(item) in sentence for sentence in disagreements(without, infra)):
                unnoticed.append((field.name, item))
    assert unnoticed == []
    assert tried > 60


def _removals(infra: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield what is removed, from which file, and the file's text without it."""
    topology = infra / "servicebus.json"
    value = json.loads(topology.read_text())
    for queue in value["UserConfig"]["Namespaces"][0]["Queues"]:
        rest = json.loads(topology.read_text())
        rest["UserConfig"]["Namespaces"][0]["Queues"].remove(queue)
        yield f"queue {queue['Name']}", topology, json.dumps(rest)
    for name in ("storage.json", "functions.json"):
        file = infra / name
        value = json.loads(file.read_text())
        for key, items in value.items():
            for item in items:
                rest_of_items = {**value, key: [one for one in items if one != item]}
                yield f"{key} {item}", file, json.dumps(rest_of_items)
    region = infra / "app/region.bicep"
    text = region.read_text()
    for setting in re.findall(
        r"^  ((?:[A-Z]{2,}|AzureWebJobs|AzureFunctions|ServiceBus|Durable)\w+): .*\n", text, re.M
    ):
        yield f"setting {setting}", region, re.sub(rf"^  {setting}: .*\n", "", text, flags=re.M)
    for file in sorted((infra / "app").glob("*.bicep")):
        yield from _role_removals(file)


def _role_removals(file: Path) -> Iterator[tuple[str, Path, str]]:
    """A role is one of a list, or an assignment of its own."""
    text = file.read_text()
    if file.name == "rbac-operator.bicep":
        return
    for item in re.findall(r"^  roles\.\w+\n", text, re.M):
        yield f"role {item.strip()} in {file.name}", file, text.replace(item, "")
    for symbol, block in re.findall(
        r"^(resource (?:\w+) 'Microsoft.Authorization/roleAssignments@[^{]*\{\n(?:.*\n)*?\}\]?\n)()",
        text,
        re.M,
    ):
        del block
        yield f"{symbol.splitlines()[0]} in {file.name}", file, text.replace(symbol, "")


def test_whatever_the_templates_stop_naming_is_noticed(app: Facts, tmp_path: Path) -> None:
    copy = tmp_path / "infra"
    shutil.copytree(INFRA, copy)
    unnoticed, tried = [], []
    for what, file, text in _removals(copy):
        original = file.read_text()
        assert text != original, what
        tried.append(what)
        file.write_text(text)
        try:
            if not disagreements(app, infra_facts(copy)):
                unnoticed.append(what)
        finally:
            file.write_text(original)
    assert unnoticed == []
    assert len(tried) > 60


class NobodyIsAsked:
    """The durable engine, which a start does not speak to."""

    async def start(self, run: str) -> None:
        raise AssertionError(run)

    async def raise_event(self, instance: str, name: str, data: object) -> None:
        raise AssertionError(instance)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_app_starts_with_the_settings_that_it_is_given(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With all its services; none of them is connected to before it is used."""
    monkeypatch.chdir(tmp_path)
    for site in deployment(kind).of(SITE):
        with monkeypatch.context() as environment:
            for name, value in app_settings(site).items():
                environment.setenv(name, value)
            settings = load_settings()
            credential = open_credential(settings)
            assert credential is not None
            queue = open_queue(settings, credential)
            async with open_system(settings, NobodyIsAsked(), queue, credential=credential).storage:
                check_triggers(settings)
        assert list(tmp_path.iterdir()) == [], "instances share no folder"
        assert settings.storage == "azure"
        assert settings.read_only is ("aos-standby" in site.params["tags"].values()) ^ (kind == "promoted")


@pytest.mark.parametrize(
    ("store", "declared"),
    [("rows", layout.TABLES), ("blobs", layout.CONTAINERS | layout.IMMUTABLE_CONTAINERS - {layout.LOGS})],
)
def test_the_code_uses_what_the_layout_declares_and_no_other(store: str, declared: frozenset[str]) -> None:
    parts = ("api", "cli", "functions", "services")
    used = set().union(*(named_in_code(ROOT / "aos" / part, store) for part in parts))
    assert {getattr(layout, name) for name in used} | {layout.LOGS} == declared | {layout.LOGS}


def test_a_queue_is_made_as_the_local_broker_makes_it() -> None:
    declared = json.loads((INFRA / "servicebus.json").read_text())["UserConfig"]["Namespaces"][0]["Queues"]
    made = {
        one.body["name"]: one.body["properties"]
        for one in deployment("plain").of("Microsoft.ServiceBus/namespaces/queues")
    }
    assert made == {
        queue["Name"]: {name[0].lower() + name[1:]: value for name, value in queue["Properties"].items()}
        for queue in declared
    }
    assert not json.loads((INFRA / "servicebus.json").read_text())["UserConfig"]["Namespaces"][0]["Topics"]


def test_the_queries_of_alerts_name_what_the_app_says() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "aos").rglob("*.py"))
    rules = deployment("plain").of("br/public:avm/res/insights/scheduled-query-rule")
    names = {
        name
        for rule in rules
        for name in re.findall(r'"([^"]+)"', rule.params["criterias"]["allOf"][0]["query"])
    }
    assert names == {"doorbells.rung_again.count", "failed", "runs.ended.count", "sweeps.count"}
    assert [name for name in names if name not in sources] == []


def _settings(kind: str, service: str) -> dict[str, str]:
    site: Made = next(
        site for site in deployment(kind).of(SITE) if site.params["tags"]["azd-service-name"] == service
    )
    return app_settings(site)


@pytest.mark.parametrize(
    ("before", "after", "service"), [("standby", "promoted", "aos-standby"), ("promoted", "standby", "aos")]
)
def test_promoting_a_region_changes_exactly_the_settings_that_the_templates_would(
    before: str, after: str, service: str
) -> None:
    old, new = _settings(before, service), _settings(after, service)
    script = (INFRA / "promote.sh").read_text()
    removed = set(re.findall(r"^    (AzureWebJobs\S+?)(?: \\)?$", script, re.M))
    written = set(re.findall(r"^    ([A-Z]\w+)=", script, re.M))
    assert removed == set(old) - set(new)
    assert written == {name for name in new if old.get(name) != new[name]}


def test_who_deploys_may_write_the_first_key_and_nothing_else() -> None:
    made = deployment("everything")
    roles = {guid: name for name, guid in json.loads((INFRA / "roles.json").read_text()).items()}
    (given,) = [
        one.body["properties"]
        for one in role_assignments(made)
        if one.body["properties"]["principalId"] == KINDS["everything"]["principalId"]
    ]
    assert roles[given["roleDefinitionId"].split("/")[-1]] == "storageTableDataContributor"
    assert not [one for one in role_assignments(deployment("plain")) if one.file == "rbac-operator.bicep"]


def _roles_of_the_app() -> dict[str, Any]:
    return {role["value"]: role for role in json.loads((INFRA / "app-roles.json").read_text())}


def test_the_roles_of_the_app_registration_are_those_that_the_api_asks_for() -> None:
    roles = _roles_of_the_app()
    assert set(roles) == {principal.OPERATOR, principal.APPROVER, principal.VIEWER}
    assert len({role["id"] for role in roles.values()}) == len(roles)


def test_what_people_consent_to_is_named_as_the_script_that_registers_it_names_it() -> None:
    (scope,) = json.loads((INFRA / "app-api.json").read_text())["oauth2PermissionScopes"]
    assert f"scope={scope['id']} # {scope['value']}" in (INFRA / "register-api.sh").read_text()
