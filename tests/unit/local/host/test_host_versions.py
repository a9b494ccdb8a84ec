"""Which orchestration versions an app runs."""

import pytest

from aos.local.host.versions import MatchStrategy, Versions, compare


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (None, "", 0),
        (None, "1.0", -1),
        ("1.0", "", 1),
        ("1.10", "1.9", 1),
        ("1.0", "1.0.0", -1),
        ("2.0.0", "2.0.0", 0),
        ("10", "9", -1),  # one number is no version to .NET: text
        ("V1-release", "v1-RELEASE", 0),
        ("2025-01-02", "2025-01-01", 1),
    ],
)
def test_versions_are_compared_as_the_extension_does(left: str | None, right: str, order: int) -> None:
    assert compare(left, right) == order


@pytest.mark.parametrize(
    ("match", "version", "runs"),
    [
        (MatchStrategy.CURRENT_OR_OLDER, "1.9", True),
        (MatchStrategy.CURRENT_OR_OLDER, None, True),
        (MatchStrategy.CURRENT_OR_OLDER, "2.1", False),
        (MatchStrategy.STRICT, "2.0", True),
        (MatchStrategy.STRICT, "1.9", False),
        (MatchStrategy.STRICT, None, False),
        (MatchStrategy.NONE, "2.1", True),
    ],
)
def test_the_strategy_decides_which_instances_run(
    match: MatchStrategy, version: str | None, runs: bool
) -> None:
    assert (Versions("2.0", match).mismatch(version) is None) is runs
    assert Versions(None, match).mismatch(version) is None  # an app without a version runs all
