"""Route templates: what they match, which wins, and what is refused."""

import pytest

from aos.local.host.functions import functions_of
from aos.local.host.routes import RouteError, compile_route
from aos.local.host.routetable import RouteTable


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("items", "items", {}),
        ("Items", "iTEMS/", {}),
        ("items/{id}", "items/a%20b", {"id": "a b"}),
        ("items/{id}", "items/a%2Fb", {"id": "a/b"}),
        ("items/{id}", "items", None),
        ("items/{id}", "items/a/b", None),
        ("items/{id?}", "items", {}),
        ("items/{id?}", "items/1", {"id": "1"}),
        ("items/{id=7}", "items", {"id": "7"}),
        ("items/{id:int}", "items/-12", {"id": "-12"}),
        ("items/{id:int}", "items/3000000000", None),
        ("items/{id:long}", "items/3000000000", {"id": "3000000000"}),
        ("items/{id:int?}", "items", {}),
        ("{a:alpha}/{b:bool}", "abc/True", {"a": "abc", "b": "True"}),
        ("{a:alpha}", "a1", None),
        ("{g:guid}", "0f8fad5b-d9cb-469f-a165-70867728950e", {"g": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
        ("{g:guid}", "not-one", None),
        ("{n:range(1,5)}", "5", {"n": "5"}),
        ("{n:range(1,5)}", "6", None),
        ("{n:min(3):max(9)}", "10", None),
        ("{s:length(2,3)}", "abc", {"s": "abc"}),
        ("{s:length(2)}", "abc", None),
        ("{s:regex(^\\d{{2}}$)}", "xx", None),
        ("{s:regex(^\\d{{2}}$)}", "42", {"s": "42"}),
        ("{d:datetime}", "2026-01-31", {"d": "2026-01-31"}),
        ("{file}.{kind}", "report.pdf", {"file": "report", "kind": "pdf"}),
        ("v{major:int}/x", "v2/x", {"major": "2"}),
        ("{n:int}", "1_000", None),
        ("{n:decimal}", "-1,000.5", {"n": "-1,000.5"}),
        ("{n:decimal}", "1e5", None),
        ("{n:double}", "1.5e-3", {"n": "1.5e-3"}),
        ("{n:double}", "nan", None),
        ("{d:datetime}", "2016-12-31%207:32pm", {"d": "2016-12-31 7:32pm"}),
        ("{d:datetime}", "2016-31-12", None),
        (
            "{g:guid}",
            "(0f8fad5b-d9cb-469f-a165-70867728950e)",
            {"g": "(0f8fad5b-d9cb-469f-a165-70867728950e)"},
        ),
        ("{s:regex(^(a|b):(c)$)}", "a:c", {"s": "a:c"}),
        ("{n:range(1,5)=3}", "", {"n": "3"}),
        ("a/{b?}/c/{d?}", "a/1/c", {"b": "1"}),
        ("a/{b?}/c/{d?}", "a/c", None),
        ("a/{b?}/{c?}", "a", {}),
        ("{file}.{kind}", "a.b.c", {"file": "a.b", "kind": "c"}),
        ("{file}.{kind?}", "report", {"file": "report"}),
        ("{file}.{kind?}", "report.pdf", {"file": "report", "kind": "pdf"}),
        ("{*rest}", "", {}),
        ("{*rest}", "a/b%2Fc/d", {"rest": "a/b/c/d"}),
        ("files/{**rest}", "files", {}),
        ("files/{**rest}", "files/a/b", {"rest": "a/b"}),
        ("files/{*rest}", "filesystem", None),
        ("", "", {}),
    ],
)
def test_a_template_matches(template: str, path: str, values: dict[str, str] | None) -> None:
    assert compile_route(template).match(path) == values


@pytest.mark.parametrize(
    "template", ["{a", "a}", "{a:colour}", "{a:range(x)}", "{a:regex([)}", "{*a}/b", "{a}/{A}", "{a:length}"]
)
def test_a_template_that_makes_no_sense_is_refused(template: str) -> None:
    with pytest.raises(RouteError):
        compile_route(template)


def test_routes_sort_from_the_most_to_the_least_specific() -> None:
    in_order = ["a/b", "a/x{y}", "a/{b:int}", "a/{b}", "a", "a/{*rest}", "{x}/b", "{x}", "{*rest}"]
    in_disorder = [*in_order[4:], *in_order[:4]]
    ranked = sorted(in_disorder, key=lambda template: compile_route(template).rank)
    assert ranked == in_order


def table(**routes: str) -> RouteTable:
    functions = [
        {"name": name, "id": name, "bindings": [{"type": "httpTrigger", "name": "req", "route": route}]}
        for name, route in routes.items()
    ]
    return RouteTable(functions_of(functions, {}), "api")


def test_a_route_that_azure_would_give_to_another_function_is_told() -> None:
    told = list(table(details="items/{id}", listing="items/list", numbered="items/{id:int}").differences())
    assert len(told) == 1
    assert told[0].startswith("routes: in Azure details (/api/items/{id}) would take requests for")
    assert "listing (/api/items/list), numbered (/api/items/{id:int})" in told[0]


def test_routes_that_azure_would_choose_alike_are_not_told() -> None:
    assert not list(table(a_list="items/list", details="items/{id}", other="things/{id}").differences())
    assert not list(table(details="items/{id:int}", listing="items/list").differences())
