"""The scripts around a deployment, run by sh against recorded answers of az and azd."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from azurite import KEY, azurite_ports
from deployments import INFRA, ROOT
from recorded_cli import RecordedCli

from aos.local.servicebus.certificate import server_context

CHECK = INFRA / "hooks/preprovision.sh"
PRINT = INFRA / "hooks/postdeploy.sh"
PROMOTE = INFRA / "promote.sh"
REGISTER = INFRA / "register-api.sh"
REGIONS = "functionapp list-flexconsumption-locations"
RUNTIMES = "functionapp list-flexconsumption-runtimes"
PAIRED = "account list-locations"
OFFERED = {REGIONS: "West Europe\nNorth Europe\neastus", RUNTIMES: "3.12\n3.13", PAIRED: "northeurope"}
GOOD = {"AZURE_ENV_NAME": "dev", "AZURE_LOCATION": "westeurope"}


@pytest.fixture
def cli(tmp_path: Path) -> RecordedCli:
    return RecordedCli(tmp_path / "bin")


@pytest.mark.parametrize("script", [CHECK, PRINT, PROMOTE, REGISTER], ids=lambda path: path.name)
def test_a_script_is_portable_and_can_be_run(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run(
        [shellcheck, "--shell=sh", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout == ""
    assert checked.returncode == 0
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"AZURE_LOCATION": "West Europe"},
        {"DEPLOY_STANDBY_LOCATION": "northeurope", "DEPLOY_ACTIVE_REGION": "standby"},
        {"DEPLOY_VNET_ENABLED": "true", "DEPLOY_MODEL": "gpt", "DEPLOY_MODEL_BASE_URL": "https://m/"},
        {"DEPLOY_VNET_ENABLED": "", "DEPLOY_MODEL": "", "DEPLOY_STANDBY_LOCATION": ""},
        {"DEPLOY_DURABLE_BACKEND": "azureManaged"},
    ],
)
def test_a_deployment_that_can_be_made_passes_the_check(
    more: Mapping[str, str], cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", OFFERED)
    ran = cli.run(CHECK, cwd=tmp_path, **GOOD | more)
    assert (ran.code, ran.err) == (0, "")
    assert "'dev' can be made in westeurope" in ran.out


@pytest.mark.parametrize(
    ("more", "answers", "says"),
    [
        ({"AZURE_ENV_NAME": ""}, {}, "there is no environment"),
        ({"AZURE_ENV_NAME": "a" * 41}, {}, "has 41 characters; names made of it hold at most 40"),
        ({"AZURE_ENV_NAME": "my_env"}, {}, "'my_env' may hold letters, digits and '-'"),
        ({"AZURE_LOCATION": ""}, {}, "there is no location"),
        ({"AZURE_LOCATION": "atlantis"}, {}, "is not offered; it is in: westeurope northeurope eastus"),
        ({}, {RUNTIMES: "3.11\n3.12"}, "does not offer Python 3.13"),
        ({"DEPLOY_STANDBY_LOCATION": "eastus"}, {}, "storage in 'westeurope' is copied to 'northeurope'"),
        ({"DEPLOY_STANDBY_LOCATION": "northeurope"}, {PAIRED: ""}, "is copied to 'no other region'"),
        ({"DEPLOY_ACTIVE_REGION": "standby"}, {}, "but there is none"),
        ({"DEPLOY_VNET_ENABLED": "yes"}, {}, "DEPLOY_VNET_ENABLED is 'yes'; it can be: true false"),
        (
            {"DEPLOY_DURABLE_BACKEND": "azureManaged", "DEPLOY_VNET_ENABLED": "true"},
            {},
            "has a public endpoint",
        ),
        (
            {"DEPLOY_DURABLE_BACKEND": "azureManaged", "DEPLOY_STANDBY_LOCATION": "northeurope"},
            {},
            "is not copied to the standby region",
        ),
        ({"DEPLOY_MODEL": "gpt"}, {}, "DEPLOY_MODEL_BASE_URL does not say where it is asked"),
    ],
)
def test_what_would_fail_after_minutes_is_said_before(
    more: Mapping[str, str], answers: Mapping[str, str], says: str, cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", OFFERED | answers)
    ran = cli.run(CHECK, cwd=tmp_path, **GOOD | more)
    assert ran.code == 1
    problems = [line for line in ran.err.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 1
    assert says in problems[0]
    assert "Nothing was made" in ran.err


@pytest.mark.parametrize("answer", [None, ""])
def test_who_is_not_signed_in_to_az_is_told_what_was_not_checked(
    answer: str | None, cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", {REGIONS: answer})
    ran = cli.run(CHECK, cwd=tmp_path, **GOOD)
    assert ran.code == 0
    assert "not checked: whether westeurope offers Flex Consumption (sign in with: az login)" in ran.err


# After the deployment


def _token() -> str:
    """A token as az gives it; the emulator reads what it claims, and does not check the signature."""
    now = int(time.time())
    claims = {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/tenant/", "oid": "operator"}
    claims |= {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}  # type: ignore[dict-item]
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256"}, claims)
    )
    return json.dumps(
        {"accessToken": ".".join([*parts, "c2ln"]), "expires_on": now + 3600, "tenant": "tenant"}
    )


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A storage account over TLS that takes tokens alone, as the hook is told of it."""
    folder = tmp_path_factory.mktemp("azurite")
    server_context(folder, "127.0.0.1")
    certificate = str(folder / "cert.pem")
    with azurite_ports(
        f"aos0000:{KEY}", "--oauth", "basic", "--cert", certificate, "--key", str(folder / "key.pem")
    ) as ports:
        yield {
            "DEPLOYED_URL": "https://func-dev.azurewebsites.net",
            "DEPLOYED_TABLES_URL": f"https://127.0.0.1:{ports['Table']}/aos0000",
            "DEPLOYED_BLOBS_URL": f"https://127.0.0.1:{ports['Blob']}/aos0000",
            "SSL_CERT_FILE": certificate,
            "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential",
        }


def test_the_first_key_is_made_and_shown_once(
    cli: RecordedCli, tmp_path: Path, account: dict[str, str]
) -> None:
    cli.record("az", {"account get-access-token": _token()})
    (tmp_path / "bin/aos").symlink_to(Path(sys.executable).with_name("aos"))
    first = cli.run(PRINT, cwd=tmp_path, **account)
    assert first.code == 0, first.err
    assert "AOS is at https://func-dev.azurewebsites.net" in first.out
    assert len(re.findall(r"aos_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", first.out)) == 1
    again = cli.run(PRINT, cwd=tmp_path, **account)
    assert again.code == 0, again.err
    assert not re.search(r"aos_[0-9a-f]{16}_", again.out)
    assert "aos run strategic-review --input apps/leadership/proposals/warehouse-automation.json" in again.out
    assert (ROOT / "apps/leadership/proposals/warehouse-automation.json").exists()


def test_a_pipeline_is_not_given_a_key_to_log(
    cli: RecordedCli, tmp_path: Path, account: dict[str, str]
) -> None:
    cli.record("az", {})
    ran = cli.run(PRINT, cwd=tmp_path, CI="true", **account)
    assert ran.code == 0
    assert ran.asked == []
    assert "aos key create NAME --role operator --role approver --role viewer" in ran.out


def test_tables_that_cannot_be_reached_do_not_fail_the_deployment(
    cli: RecordedCli, tmp_path: Path, account: dict[str, str]
) -> None:
    cli.record("az", {"account get-access-token": None})
    (tmp_path / "bin/aos").symlink_to(Path(sys.executable).with_name("aos"))
    ran = cli.run(PRINT, cwd=tmp_path, DEPLOY_KEY_TRIES="1", **account)
    assert ran.code == 0
    assert "cannot be reached from here, or not yet" in ran.out
    assert "azd down removes it" in ran.out


# The registration in the directory

APP, OBJECT, HOLDER = (f"0b9c7a52-5d0e-4a53-9c58-3f1f6f0b9a0{number}" for number in (1, 2, 3))
DIRECTORY = {
    "ad app list": "",
    "ad app create": APP,
    "ad app show": OBJECT,
    "rest --method patch": "",
    "ad sp list": "",
    "ad sp create": HOLDER,
}


def test_the_api_is_registered_with_its_roles_a_scope_and_who_roles_are_assigned_on(
    cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", DIRECTORY)
    cli.record("azd", {"env set": ""})
    ran = cli.run(REGISTER, cwd=tmp_path)
    assert ran.code == 0, ran.err
    first, second = [
        json.loads(line.partition("--body ")[2])
        for line in re.findall(r"az rest --method patch (?:.|\n)*?(?=\naz|\Z)", "\n".join(ran.asked))
    ]
    assert first["identifierUris"] == [f"api://{APP}"]
    assert first["appRoles"] == json.loads((INFRA / "app-roles.json").read_text())
    assert first["api"] == json.loads((INFRA / "app-api.json").read_text())
    (scope,) = first["api"]["oauth2PermissionScopes"]
    (client,) = second["api"]["preAuthorizedApplications"]
    assert client["delegatedPermissionIds"] == [scope["id"]]
    assert ran.asked[-1] == f"azd env set DEPLOY_AUTH_AUDIENCE {APP}"
    assert f"servicePrincipals/{HOLDER}/appRoleAssignedTo" in ran.out
    assert f"--scope api://{APP}/.default" in ran.out


def test_what_is_registered_already_is_not_registered_twice(cli: RecordedCli, tmp_path: Path) -> None:
    there = {"ad app list": APP, "ad sp list": HOLDER, "ad app create": None, "ad sp create": None}
    cli.record("az", DIRECTORY | there)
    cli.record("azd", {"env set": ""})
    ran = cli.run(REGISTER, "aos", cwd=tmp_path)
    assert ran.code == 0, ran.err
    cli.record("az", {"ad app list": f"{APP}\n{OBJECT}"})
    ran = cli.run(REGISTER, "aos", cwd=tmp_path)
    assert ran.code == 1
    assert "More than one application is called 'aos'" in ran.err


# Promotion of the standby

VALUES = {
    "DEPLOYED_STANDBY_RESOURCE_GROUP": "rg-dev-standby",
    "DEPLOYED_STANDBY_APP": "func-ones",
    "DEPLOYED_STANDBY": "true",
    "DEPLOYED_APP": "func-one",
    "DEPLOYED_DATA_STORAGE": "stdataone",
    "DEPLOYED_SERVICE_BUS": "sb-one",
    "DEPLOYED_TABLES_URL": "https://stdataone.table.core.windows.net/",
    "DEPLOYED_BLOBS_URL": "https://stdataone.blob.core.windows.net/",
    "DEPLOY_STANDBY_LOCATION": "northeurope",
    "AZURE_SUBSCRIPTION_ID": "sub",
    "AZURE_RESOURCE_GROUP": "rg-dev",
    "AZURE_LOCATION": "westeurope",
}
CLOUD = {
    "functionapp config appsettings list": "client",
    "functionapp": "",
    "storage account show": "2026-11-27T20:00:00+00:00",
    "storage account failover": "",
    "rest --method post": "",
}


def _azd(**more: str) -> dict[str, str | None]:
    return {f"env get-value {name}": value for name, value in (VALUES | more).items()} | {"env set": ""}


def _told(asked: list[str]) -> list[str]:
    """What the cloud is told to change, in order."""
    changes = [line for line in asked if not re.match(r"az(d env get-value| .* (list|show) )", line)]
    return [re.sub(r" --.*", "", line) for line in changes]


ORDER = [
    "az functionapp stop",
    "az rest",
    "az storage account failover",
    "az functionapp config appsettings set",
    "az functionapp config appsettings delete",
    "az functionapp start",
]


def test_a_planned_promotion_stops_one_region_before_anything_moves(cli: RecordedCli, tmp_path: Path) -> None:
    cli.record("az", CLOUD)
    cli.record("azd", _azd())
    ran = cli.run(PROMOTE, "planned", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert _told(ran.asked) == [*ORDER, "azd env set DEPLOY_ACTIVE_REGION standby"]
    asked = "\n".join(ran.asked)
    assert "stop --resource-group rg-dev --name func-one\n" in asked
    assert "start --resource-group rg-dev-standby --name func-ones" in asked
    assert '"primaryLocation": "northeurope", "force": false' in asked
    assert "failover --resource-group rg-dev --name stdataone --yes --failover-type Planned" in asked
    assert "DurableStorage__queueServiceUri=https://stdataone.queue.core.windows.net/" in asked
    assert "DurableStorage__clientId=client" in asked


def test_a_forced_promotion_goes_on_when_the_lost_region_does_not_answer(
    cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", {"functionapp stop": None} | CLOUD)
    cli.record("azd", _azd())
    ran = cli.run(PROMOTE, "forced", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert _told(ran.asked)[:6] == ORDER
    assert '"force": true' in "\n".join(ran.asked)
    assert "--failover-type" not in "\n".join(ran.asked)


def test_a_planned_promotion_ends_where_the_active_region_cannot_be_stopped(
    cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", {"functionapp stop": None} | CLOUD)
    cli.record("azd", _azd())
    ran = cli.run(PROMOTE, "planned", cwd=tmp_path)
    assert ran.code != 0
    assert _told(ran.asked) == ["az functionapp stop"]


def test_the_way_back_is_the_same(cli: RecordedCli, tmp_path: Path) -> None:
    cli.record("az", CLOUD)
    cli.record("azd", _azd(DEPLOY_ACTIVE_REGION="standby"))
    ran = cli.run(PROMOTE, "planned", cwd=tmp_path)
    assert ran.code == 0, ran.err
    asked = "\n".join(ran.asked)
    assert "stop --resource-group rg-dev-standby --name func-ones" in asked
    assert "start --resource-group rg-dev --name func-one\n" in asked
    assert '"primaryLocation": "westeurope"' in asked
    assert ran.asked[-1] == "azd env set DEPLOY_ACTIVE_REGION primary"


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [((), {}, "usage:"), (("planned",), {"DEPLOYED_STANDBY": "false"}, "There is no standby")],
)
def test_without_a_word_or_a_standby_nothing_is_promoted(
    arguments: tuple[str, ...], more: dict[str, str], says: str, cli: RecordedCli, tmp_path: Path
) -> None:
    cli.record("az", {})
    cli.record("azd", _azd(**more))
    ran = cli.run(PROMOTE, *arguments, cwd=tmp_path)
    assert ran.code != 0
    assert says in ran.err
    assert _told(ran.asked) == []
