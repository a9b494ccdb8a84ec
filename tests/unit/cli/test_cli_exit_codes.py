from __future__ import annotations

import pytest

from aos.cli.exits import MEANINGS, ExitCode, exit_code_of
from aos.kernel import errors
from aos.kernel.errors import AosError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound, 3),
        (errors.Unauthenticated, 4),
        (errors.Forbidden, 4),
        (errors.PolicyDenied, 4),
        (errors.Conflict, 5),
        (errors.IllegalTransition, 5),
        (errors.Unavailable, 6),
        (errors.InvalidInput, 2),
        (errors.InvalidSetting, 2),
        (errors.TooLarge, 2),
        (errors.Integrity, 1),
        (errors.BudgetExceeded, 1),
        (AosError, 1),
    ],
)
def test_each_error_has_the_exit_code_of_its_meaning(error: type[AosError], code: int) -> None:
    assert exit_code_of(error("x")) == code


def test_every_exit_code_has_a_meaning_to_document() -> None:
    assert set(MEANINGS) == set(ExitCode)
