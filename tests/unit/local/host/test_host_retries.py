"""Retry policies: how often, and how long between."""

from aos.local.host.calls import Failure
from aos.local.host.retries import Retry, RetryPolicy


def test_a_fixed_delay_is_the_same_each_time_up_to_the_last_retry() -> None:
    policy = RetryPolicy(2, 5.0, 5.0)
    assert [policy.allows(attempt) for attempt in (1, 2, 3)] == [True, True, False]
    assert [policy.delay_s(attempt) for attempt in (1, 2, 3)] == [5.0, 5.0, 5.0]


def test_a_backoff_doubles_with_jitter_between_its_bounds() -> None:
    policy = RetryPolicy(None, 2.0, 20.0)
    highest = [policy.delay_s(attempt, lambda _low, high: high) for attempt in range(1, 7)]
    lowest = [policy.delay_s(attempt, lambda low, _high: low) for attempt in range(1, 7)]
    assert highest == [2.0, 4.4, 6.8, 11.6, 20.0, 20.0]
    assert lowest == [2.0, 3.6, 5.2, 8.4, 14.8, 20.0]
    assert policy.allows(1_000_000)
    assert policy.delay_s(1_000_000) == 20.0


def test_a_function_is_told_which_retry_it_is_and_what_failed_before() -> None:
    failure = Failure("ValueError", "no\nmore", "Traceback ...")
    assert Retry(1, RetryPolicy(3, 1.0, 1.0), failure).head() == {
        "count": 1, "max": 3, "failure": {"message": "ValueError: no", "trace": "Traceback ..."},
    }  # fmt: skip
    assert Retry(0, RetryPolicy(None, 1.0, 1.0), None).head() == {"count": 0, "max": -1, "failure": None}
