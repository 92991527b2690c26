"""Restarting: at once, then later and later, and not for ever."""

from __future__ import annotations

from streamfer.process import BACKOFF_CAP, RESTARTS_WITHOUT_PROGRESS, Backoff


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer() -> None:
    backoff = Backoff()
    delays = [backoff.failed() for _ in range(RESTARTS_WITHOUT_PROGRESS)]
    assert delays[0] == 0
    assert all(delay is not None and delay <= BACKOFF_CAP * 1.25 for delay in delays)
    assert delays[-1] is not None and delays[1] is not None and delays[-1] > delays[1] > 0


def test_the_breaker_opens_only_without_progress() -> None:
    backoff = Backoff()
    for _ in range(50):
        assert backoff.failed() is not None
        backoff.progressed()
    for _ in range(RESTARTS_WITHOUT_PROGRESS):
        assert backoff.failed() is not None
    assert backoff.failed() is None
