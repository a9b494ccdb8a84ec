"""Route templates: what they match, which wins, and what is refused."""

import pytest

from aos.local.host.routes import RouteError, compile_route


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
