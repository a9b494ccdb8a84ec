"""No key, no secret, no open door and no right that is not needed is in any template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from deployments import INFRA, KINDS, deployment
from facts import role_assignments

PRIVATE = [kind for kind, parameters in KINDS.items() if parameters.get("vnetEnabled")]
STORAGE = "br/public:avm/res/storage/storage-account"
SITE = "br/public:avm/res/web/site"
VAULT = "br/public:avm/res/key-vault/vault"
BUS = "Microsoft.ServiceBus/namespaces"
COMPONENT = "br/public:avm/res/insights/component"
WORKSPACE = "br/public:avm/res/operational-insights/workspace"

WILDCARDS = {
    ("dimensions", "*"): "an alert on each queue by itself",
    ("patternsToMatch", "/*"): "Front Door passes every path on; the app decides",
    (
        "ipAllowlist",
        "0.0.0.0/0",
    ): "the Durable Task Scheduler has no private endpoint here: not with vnetEnabled",
}
"""Where a wildcard stands, and why it opens nothing."""

BROAD = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": "Key Vault Administrator",
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603": "Key Vault Crypto Officer",
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": "Storage Account Contributor",
}


def _values(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    else:
        yield path, value


def _everything(kind: str) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    for made in deployment(kind).made:
        for path, value in _values(made.body):
            yield f"{made.file}: {made.symbol}", path, value


@pytest.mark.parametrize("file", sorted(INFRA.rglob("*.*")), ids=lambda path: path.name)
def test_no_file_holds_or_asks_for_a_key(file: Any) -> None:
    if file.name == "servicebus.json":
        return
    text = file.read_text()
    found = re.search(
        r"list[A-Za-z]*Keys?\s*\(|listAccountSas|listServiceSas|AccountKey|SharedAccessKey|sv=\d{4}-|"
        r"primaryKey|primaryConnectionString|primaryAccessKey|-----BEGIN|Password\s*[=:]",
        text,
        re.I,
    )
    assert found is None, found


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_is_a_secret_but_the_one_that_goes_into_the_vault(kind: str) -> None:
    secret = KINDS[kind].get("modelApiKey")
    holding = {(where, path) for where, path, value in _everything(kind) if secret and secret in str(value)}
    assert holding <= {("key-vault.bicep: vault", ("params", "secrets", "value"))}
    assert bool(holding) == bool(secret)
    assert not any(secret in str(value) for value in deployment(kind).outputs.values()) if secret else True


def test_parameters_that_carry_a_secret_are_marked_secure() -> None:
    for file in INFRA.rglob("*.bicep"):
        for before, name in re.findall(
            r"((?:^@.*\n)*)^param (\w*(?:[kK]ey|[sS]ecret|[pP]assword)) string", file.read_text(), re.M
        ):
            assert "@secure()" in before, (file.name, name)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_takes_a_key(kind: str) -> None:
    made = deployment(kind)
    assert all(one.params["allowSharedKeyAccess"] is False for one in made.of(STORAGE))
    assert all(one.params["allowBlobPublicAccess"] is False for one in made.of(STORAGE))
    assert all(one.body["properties"]["disableLocalAuth"] is True for one in made.of(BUS))
    assert all(one.params["disableLocalAuth"] is True for one in made.of(COMPONENT))
    assert all(one.params["enableRbacAuthorization"] is True for one in made.of(VAULT))
    for site in made.of(SITE):
        assert site.params["httpsOnly"] is True
        assert [one["allow"] for one in site.params["basicPublishingCredentialsPolicies"]] == [False, False]
        assert (
            site.params["functionAppConfig"]["deployment"]["storage"]["authentication"]["type"]
            == "UserAssignedIdentity"
        )
        assert site.params["siteConfig"]["minTlsVersion"] == "1.2"


@pytest.mark.parametrize("kind", PRIVATE)
def test_with_a_virtual_network_nothing_has_a_public_endpoint(kind: str) -> None:
    made = deployment(kind)
    open_to_listed = {"Enabled"} if KINDS[kind].get("allowedAddresses") else {"Disabled"}
    for one in made.of(STORAGE) + made.of(VAULT):
        assert one.params["publicNetworkAccess"] == "Disabled"
        assert one.params["networkAcls"] == {"bypass": "None", "defaultAction": "Deny"}
    for one in made.of(BUS):
        assert one.body["properties"]["publicNetworkAccess"] == "Disabled"
        assert one.body["sku"]["name"] == "Premium"
    for one in made.of(COMPONENT) + made.of(WORKSPACE):
        assert one.params["publicNetworkAccessForIngestion"] == "Disabled"
    for site in made.of(SITE):
        assert {site.params["publicNetworkAccess"]} == open_to_listed
        assert site.params["siteConfig"]["ipSecurityRestrictionsDefaultAction"] == "Deny"
        assert site.params["siteConfig"]["scmIpSecurityRestrictionsDefaultAction"] == "Deny"
        assert site.params["virtualNetworkSubnetResourceId"]
    assert not made.of("Microsoft.DurableTask/schedulers")
    for profile in made.of("br/public:avm/res/cdn/profile"):
        assert profile.params["sku"] == "Premium_AzureFrontDoor"
        assert all(
            "sharedPrivateLinkResource" in origin for origin in profile.params["originGroups"][0]["origins"]
        )


@pytest.mark.parametrize("kind", PRIVATE)
def test_whatever_was_closed_can_be_reached_through_a_private_endpoint_of_each_region(kind: str) -> None:
    made = deployment(kind)
    regions = len(made.of(SITE))
    reached = [
        (connection["properties"]["privateLinkServiceId"], connection["properties"]["groupIds"][0])
        for endpoint in made.of("br/public:avm/res/network/private-endpoint")
        for connection in endpoint.params["privateLinkServiceConnections"]
    ]
    kinds = [group for _, group in reached]
    assert {group: kinds.count(group) for group in sorted(set(kinds))} == {
        "azuremonitor": regions,
        "blob": 3 * regions,
        "namespace": regions,
        "queue": 2 * regions,
        "sites": regions,
        "table": 2 * regions,
        "vault": regions,
        **({"blob_secondary": 1, "table_secondary": 1} if regions == 2 else {}),
    }
    zones = {zone.params["name"] for zone in made.of("br/public:avm/res/network/private-dns-zone")}
    for endpoint in made.of("br/public:avm/res/network/private-endpoint"):
        for config in endpoint.params["privateDnsZoneGroup"]["privateDnsZoneGroupConfigs"]:
            assert config["privateDnsZoneResourceId"].split("/")[-1] in zones


def test_without_a_virtual_network_an_app_behind_front_door_lets_nobody_else_in() -> None:
    for site in deployment("standby").of(SITE):
        config = site.params["siteConfig"]
        assert config["ipSecurityRestrictionsDefaultAction"] == "Deny"
        (rule,) = config["ipSecurityRestrictions"]
        assert rule["ipAddress"] == "AzureFrontDoor.Backend"
        assert rule["headers"]["x-azure-fdid"] == ["/frontDoor/identifier/profile.properties.frontDoorId"]


def test_no_role_is_broad_and_each_is_known() -> None:
    roles = json.loads((INFRA / "roles.json").read_text())
    assert not set(roles.values()) & set(BROAD)
    assert [name for name in roles if "owner" in name.lower()] == ["storageBlobDataOwner"]
    for file in INFRA.rglob("*.bicep"):
        assert not re.findall(
            r"'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'", file.read_text()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_owner_role_is_on_the_host_storage_and_no_role_is_on_a_group(kind: str) -> None:
    made = deployment(kind)
    roles = {guid: name for name, guid in json.loads((INFRA / "roles.json").read_text()).items()}
    assert role_assignments(made)
    for one in role_assignments(made):
        scope = made.existing[one.scope]
        role = roles[one.body["properties"]["roleDefinitionId"].split("/")[-1]]
        assert "Owner" not in role or "hostStorage" in scope.body["name"]
        assert one.body["properties"]["principalType"] in ("ServicePrincipal", "User")


@pytest.mark.parametrize("kind", KINDS)
def test_no_wildcard_stands_where_it_opens_something(kind: str) -> None:
    found = {
        (path[-1] if path[-1] != "values" else path[-2], value)
        for _, path, value in _everything(kind)
        if isinstance(value, str) and ("*" in value or value == "0.0.0.0/0")
    }
    assert found <= set(WILDCARDS)
    if kind in PRIVATE:
        assert ("ipAllowlist", "0.0.0.0/0") not in found


@pytest.mark.parametrize("file", sorted(INFRA.rglob("*.bicep")), ids=lambda path: path.name)
def test_modules_and_interfaces_are_pinned(file: Any) -> None:
    text = file.read_text()
    for module in re.findall(r"^module \w+ '([^']+)'", text, re.M):
        assert not module.startswith("br") or re.fullmatch(
            r"br/public:avm/res/[a-z/-]+:\d+\.\d+\.\d+", module
        )
    for version in re.findall(r"^resource \w+ '[^']+@([^']+)'", text, re.M):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", version) or version == "2021-05-01-preview"


_LIMITS = {
    STORAGE: r"[a-z0-9]{3,24}",
    SITE: r"[a-z0-9-]{2,32}",
    VAULT: r"[a-z][a-z0-9-]{2,23}",
    BUS: r"[a-z][a-z0-9-]{5,49}",
    COMPONENT: r"[a-z0-9-]{1,255}",
    WORKSPACE: r"[a-z0-9-]{4,63}",
    "Microsoft.DurableTask/schedulers": r"[a-z][a-z0-9-]{2,63}",
    "br/public:avm/res/cdn/profile": r"[a-z0-9-]{1,46}",
    "br/public:avm/res/network/private-endpoint": r"[a-z0-9-]{2,64}",
    "Microsoft.Resources/resourceGroups": r"[A-Za-z0-9-]{1,90}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_keep_to_their_limits_and_modules_do_not_share_one(kind: str) -> None:
    made = deployment(kind)
    names = []
    for what, limit in _LIMITS.items():
        for one in made.of(what):
            name = one.params["name"] if what.startswith("br/") else one.body["name"]
            assert re.fullmatch(limit, name), (what, name)
            names.append((what, name))
    assert len(set(names)) == len(names)
    assert len(set(made.modules)) == len(made.modules)


def test_checkpoints_are_immutable_in_an_account_that_need_not_fail_over() -> None:
    accounts = {one.file: one.params for one in deployment("standby").of(STORAGE)}
    (container,) = accounts["audit-storage.bicep"]["blobServices"]["containers"]
    assert container["immutabilityPolicy"] == {"immutabilityPeriodSinceCreationInDays": 365}
    assert "immutabilityPolicy" not in json.dumps(accounts["data-storage.bicep"])


@pytest.mark.parametrize(
    ("kind", "data", "host"),
    [
        ("plain", "Standard_LRS", "Standard_LRS"),
        ("standby", "Standard_RAGRS", "Standard_LRS"),
        ("private standby", "Standard_RAGZRS", "Standard_ZRS"),
    ],
)
def test_storage_is_copied_as_far_as_was_asked(kind: str, data: str, host: str) -> None:
    accounts = {one.file: one.params["skuName"] for one in deployment(kind).of(STORAGE)}
    assert accounts == {"data-storage.bicep": data, "audit-storage.bicep": data, "host-storage.bicep": host}
    zones = {one.params["zoneRedundant"] for one in deployment(kind).of("br/public:avm/res/web/serverfarm")}
    assert zones == {host == "Standard_ZRS"}


def test_the_key_that_signs_is_of_the_curve_that_the_dossiers_name_and_rotates() -> None:
    (vault,) = deployment("plain").of(VAULT)
    (key,) = vault.params["keys"]
    assert (key["kty"], key["curveName"], key["keyOps"]) == ("EC", "P-256", ["sign", "verify"])
    assert {action["action"]["type"] for action in key["rotationPolicy"]["lifetimeActions"]} == {
        "rotate",
        "notify",
    }
