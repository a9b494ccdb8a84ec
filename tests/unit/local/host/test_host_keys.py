"""The keys of an app: made once, kept private, and matched only by one that is given."""

import json
import stat
from pathlib import Path

import pytest

from aos.local.host.errors import HostError
from aos.local.host.keys import DURABLE_KEY, KeyFile


def test_keys_are_made_once_and_only_the_owner_may_read_them(tmp_path: Path) -> None:
    first = KeyFile(tmp_path / "keys.json")
    first.admit_functions(["Hello"])
    again = KeyFile(tmp_path / "keys.json")
    again.admit_functions(["hello"])
    assert again.ring == first.ring
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    keys = [first.ring.master, *first.ring.host.values(), *first.ring.system.values()]
    keys += first.ring.functions["hello"].values()
    assert len(set(keys)) == 4
    assert min(map(len, keys)) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_system_key_that_was_taken_out_is_made_anew(tmp_path: Path) -> None:
    path = KeyFile(tmp_path / "keys.json").path
    kept = json.loads(path.read_text())
    old = kept["systemKeys"].pop(DURABLE_KEY)
    path.write_text(json.dumps(kept))
    ring = KeyFile(path).ring
    assert ring.master == kept["masterKey"]
    assert ring.system[DURABLE_KEY] != old
    assert KeyFile(path).ring == ring


def test_a_file_that_others_could_read_is_theirs_no_longer(tmp_path: Path) -> None:
    path = KeyFile(tmp_path / "keys.json").path
    path.chmod(0o644)
    KeyFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_opens_what_it_is_for(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.admit_functions(["one", "two"])
    ring = file.ring
    host, own, system = ring.host["default"], ring.functions["one"]["default"], ring.system[DURABLE_KEY]
    assert [ring.opens_function(key, "One") for key in (host, own)] == [True, True]
    assert [ring.opens_function(key, "One") for key in (system, ring.master)] == [False, False]
    assert [ring.opens_function(key, "two") for key in (host, own)] == [True, False]
    assert [ring.opens_all(key) for key in (host, own, system, ring.master)] == [False, False, False, True]
    assert [ring.opens_extension(key, DURABLE_KEY) for key in (host, system)] == [False, True]
    assert not ring.opens_extension(system, "another_extension")
    for nothing in ("", "None", "null"):
        assert not ring.opens_all(nothing)
        assert not ring.opens_function(nothing, "no such function")
        assert not ring.opens_extension(nothing, DURABLE_KEY)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"masterKey": ""}, "masterKey must be a key"),
        ({"masterKey": None}, "masterKey must be a key"),
        ({"functionKeys": {"default": ""}}, "functionKeys.default must be a key"),
        ({"systemKeys": {DURABLE_KEY: 7}}, f"systemKeys.{DURABLE_KEY} must be a key"),
        ({"functions": {"one": {"default": None}}}, "one.default must be a key"),
        ({"functions": []}, "functions must be an object"),
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    path = KeyFile(tmp_path / "keys.json").path
    damaged = json.dumps({**json.loads(path.read_text()), **change})
    path.write_text(damaged)
    with pytest.raises(HostError) as caught:
        KeyFile(path)
    assert f"keys.json: {named}" in caught.value.message
    assert path.read_text() == damaged
