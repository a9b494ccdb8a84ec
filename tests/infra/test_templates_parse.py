"""Every template parses, by two parsers that know nothing of each other, and both see the same in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bicep_functions import Refused
from bicep_program import deploy
from bicep_syntax import name_of, parse
from deployments import INFRA, KINDS, deployment
from pycep import BicepParser

PARSER = BicepParser()
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
_KINDS = {
    "parameters": "parameter_declaration",
    "variables": "variable_declaration",
    "resources": "resource_declaration",
    "modules": "module_declaration",
    "outputs": "output_declaration",
}


def test_there_are_templates() -> None:
    assert {"main.bicep", "region.bicep", "function.bicep", "service-bus.bicep"} <= {
        one.name for one in TEMPLATES
    }


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_parses_and_both_parsers_see_the_same_declarations(template: Path) -> None:
    tree = parse(template.read_bytes())
    found = PARSER.parse(text=template.read_text())
    declared = 0
    for kind, node_type in _KINDS.items():
        ours = [name_of(node) for node in tree.named_children if node.type == node_type]
        assert sorted(ours) == sorted(found.get(kind, {})), kind
        declared += len(ours)
    written = len(re.findall(r"^(?:param|var|resource|module|output) ", template.read_text(), re.M))
    assert declared == written
    assert declared or template.name == "types.bicep"


@pytest.mark.parametrize(
    "broken",
    [
        "param a string = \n",
        "param a string\nresource b 'X/y@2020-01-01' = {\n  name: a\n",
        "var a = {\n  ...b\n}\n",
        "assert a = true\n",
        "modul a 'b.bicep' = {\n  name: 'c'\n}\n",
        "var a = [\n  1\n",
        "var a = b ? c\n",
    ],
)
def test_what_is_no_template_does_not_parse(broken: str) -> None:
    with pytest.raises(SyntaxError):
        parse(broken.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_deployment_can_be_evaluated(kind: str) -> None:
    assert len(deployment(kind).made) > 25


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"durableBackend": "azureManaged", "vnetEnabled": True}, "has a public endpoint"),
        ({"durableBackend": "azureManaged", "standbyLocation": "northeurope"}, "is not copied"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(parameters: dict[str, object], says: str) -> None:
    with pytest.raises(Refused, match=says):
        deploy(INFRA / "main.bicep", {"environmentName": "dev", "location": "westeurope", **parameters})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("vnetEnabled: vnetEnabled\n", ""), "needs the parameter 'vnetEnabled'"),
        (("premium: vnetEnabled || hasStandby", "premiun: true"), "no parameter"),
        (("premium: vnetEnabled || hasStandby", "premium: 'yes'"), "not of type bool"),
        (("  taskHubName: taskHubName\n  actionGroupId", "  actionGroupId"), "differ in \\['taskHubName'\\]"),
    ],
)
def test_modules_are_given_the_parameters_that_they_have(
    change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    for file in INFRA.rglob("*.*"):
        copy = tmp_path / file.relative_to(INFRA)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    main = tmp_path / "main.bicep"
    assert change[0] in main.read_text()
    main.write_text(main.read_text().replace(*change))
    with pytest.raises(TypeError, match=says):
        deploy(main, {"environmentName": "dev", "location": "westeurope"})
