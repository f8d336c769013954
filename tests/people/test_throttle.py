"""How long a failed login must wait."""

from __future__ import annotations

from hypothesis import given, strategies

from oriel.people import Throttle


def test_the_fifth_failure_waits_and_each_more_doubles() -> None:
    throttle = Throttle()
    waits = []
    for _ in range(16):
        throttle.record_failure("ned", 100.0)
        waits.append(throttle.wait_s("ned", 100.0))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert throttle.wait_s("rick", 100.0) == 0


def test_waiting_helps_and_success_forgets() -> None:
    throttle = Throttle()
    for _ in range(7):
        throttle.record_failure("ned", 100.0)
    assert throttle.wait_s("ned", 103.0) == 1.0
    assert throttle.wait_s("ned", 104.0) == 0.0
    throttle.record_failure("ned", 104.0)
    assert throttle.wait_s("ned", 104.0) == 8.0
    throttle.record_success("ned")
    assert throttle.wait_s("ned", 104.0) == 0.0
    assert len(throttle) == 0


def test_an_hour_without_failures_starts_afresh() -> None:
    throttle = Throttle()
    for _ in range(9):
        throttle.record_failure("ned", 0.0)
    throttle.record_failure("ned", 3600.0)
    assert throttle.wait_s("ned", 3600.0) == 0.0


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    throttle = Throttle(keys_max=3)
    for _ in range(5):
        throttle.record_failure("ned", 1.0)
    for key in ("a", "b"):
        throttle.record_failure(key, 2.0)
    assert throttle.wait_s("ned", 1.0) > 0
    throttle.record_failure("c", 3.0)
    assert len(throttle) == 3
    assert throttle.wait_s("ned", 1.0) == 0


@given(
    failures=strategies.lists(
        strategies.tuples(strategies.sampled_from("abcdef"), strategies.floats(0, 10_000)),
        max_size=60,
    )
)
def test_never_more_than_the_cap_nor_less_than_nothing(failures: list[tuple[str, float]]) -> None:
    throttle = Throttle(keys_max=4)
    for key, now_s in sorted(failures, key=lambda each: each[1]):
        throttle.record_failure(key, now_s)
        assert 0 <= throttle.wait_s(key, now_s) <= 900
        assert len(throttle) <= 4


def test_a_long_siege_does_not_overflow() -> None:
    throttle = Throttle()
    for _ in range(5000):
        throttle.record_failure("ned", 0.0)
    assert throttle.wait_s("ned", 0.0) == 900
