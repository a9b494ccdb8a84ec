"""azure.yaml, the parameters and the workflows say the same, and whom they trust is pinned."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from bicep_syntax import name_of, parse
from deployments import INFRA, ROOT, deployment

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GIVEN_BY_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}
SECRET = "DEPLOY_MODEL_API_KEY"


def _azure() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
    return found


def _workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return found


def _parameters() -> dict[str, tuple[str, str | None]]:
    """Return the variable and the default of each parameter in main.parameters.json."""
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    found = {}
    for name, value in given.items():
        match = re.fullmatch(r"\$\{([A-Z_]+)(?:=(.*))?\}", value["value"])
        assert match, value
        found[name] = (match[1], match[2])
    return found


def test_every_parameter_is_set_by_a_variable_whose_default_is_the_templates_own() -> None:
    parameters = _parameters()
    tree = parse((INFRA / "main.bicep").read_bytes())
    declared = {name_of(node): node for node in tree.named_children if node.type == "parameter_declaration"}
    assert list(parameters) == list(declared)
    for name, (variable, default) in parameters.items():
        written = declared[name].text.partition(" = ")[2].strip("'")
        if variable not in GIVEN_BY_AZD:
            assert variable.startswith("DEPLOY_"), name
            assert default == written, name


def test_the_pipeline_hands_on_every_variable() -> None:
    variables = {variable for variable, _ in _parameters().values()} - GIVEN_BY_AZD
    pipeline = _azure()["pipeline"]
    assert set(pipeline["variables"]) == variables - {SECRET}
    assert pipeline["secrets"] == [SECRET]
    deploy = _workflow("azure-dev.yml")["jobs"]["deploy"]
    passed = {name for name in deploy["env"] if name.startswith("DEPLOY_")}
    assert passed == variables - {SECRET}
    assert all(value == f"${{{{ vars.{name} }}}}" for name, value in deploy["env"].items())
    (provision,) = [step for step in deploy["steps"] if step.get("name") == "Provision"]
    assert provision["env"] == {SECRET: f"${{{{ secrets.{SECRET} }}}}"}


def test_the_hooks_read_variables_that_there_are() -> None:
    known = {variable for variable, _ in _parameters().values()} | set(deployment("plain").outputs)
    for script in (*(INFRA / "hooks").glob("*.sh"), *INFRA.glob("*.sh")):
        read = set(re.findall(r"\b(?:DEPLOY|DEPLOYED|AZURE)_[A-Z_]+[A-Z]\b", script.read_text()))
        assert read - known <= {
            "AZURE_SUBSCRIPTION_ID", "DEPLOY_KEY_TRIES", "DEPLOY_KEY_PAUSE_S"
        }, script.name  # fmt: skip


def test_the_services_are_what_the_templates_tag() -> None:
    tagged = {
        site.params["tags"]["azd-service-name"]
        for site in deployment("standby").of("br/public:avm/res/web/site")
    }
    services = _azure()["services"]
    assert set(services) == tagged == {"aos", "aos-standby"}
    outputs = set(deployment("standby").outputs)
    for service in services.values():
        assert (service["host"], service["language"], service["project"]) == ("function", "python", ".")
        assert (
            set(re.findall(r"\$\{(\w+)\}", f"{service['resourceGroup']} {service.get('condition', '')}"))
            <= outputs
        )
    assert services["aos-standby"]["condition"] == "${DEPLOYED_STANDBY}"


def test_the_hooks_of_azd_are_the_scripts_on_windows_too() -> None:
    for hook in _azure()["hooks"].values():
        script = hook["posix"]["run"]
        assert (ROOT / script).is_file()
        assert hook["posix"]["shell"] == "sh"
        assert hook["windows"] == {"shell": "pwsh", "run": f"sh {script}; exit $LASTEXITCODE"}


def test_the_python_that_is_deployed_is_the_one_that_is_tested() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    (site,) = deployment("plain").of("br/public:avm/res/web/site")
    assert site.params["functionAppConfig"]["runtime"] == {"name": "python", "version": version}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].startswith(
        f">={version}"
    )
    assert version.replace(".", "\\.") in (INFRA / "hooks/preprovision.sh").read_text()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_trusts_pinned_actions_and_may_only_read(file: Path) -> None:
    workflow = _workflow(file.name)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert "${{" not in step.get("run", "")
    assert len(
        re.findall(r"uses: .+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", file.read_text(), re.M)
    ) == file.read_text().count("uses:")


def test_every_push_is_tested_and_a_tag_is_deployed_by_a_federated_identity() -> None:
    assert _workflow("test.yml")[True]["push"] == {"branches": ["**"]}
    assert [step["run"] for step in _workflow("test.yml")["jobs"]["test"]["steps"] if "run" in step] == [
        "make check",
        "make test",
    ]
    deploy = _workflow("azure-dev.yml")
    assert deploy[True]["push"] == {"tags": ["v*"]}
    job = deploy["jobs"]["deploy"]
    assert job["needs"] == "test"
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert job["environment"] == "production"
    assert "--federated-credential-provider github" in str(job["steps"])
    assert "client-secret" not in str(job)


@pytest.mark.parametrize(
    "name", ["infra", "tests", "docs", "azure.yaml", ".azure", "local.settings*.json", "aos/local", "bench"]
)
def test_what_the_app_does_not_need_is_not_deployed(name: str) -> None:
    assert name in (ROOT / ".funcignore").read_text().splitlines()
