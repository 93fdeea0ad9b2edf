"""A broker that is away is told of once, not forty times a second."""

from __future__ import annotations

import logging

import pytest

from fairgate.streams import kafka_log
from fairgate.streams.kafka_log import Sparing


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("fairgate.kafka", logging.ERROR, "", 0, text, (), None)


def test_the_same_kind_of_one_client_is_told_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(kafka_log.time, "monotonic", lambda: now)
    sparing = Sparing(every_s=10.0)
    lines = [record(f"FAIL [relay-0#producer-4] [thrd:127.0.0.1:1]: refused after {i} ms") for i in range(40)]
    assert [sparing.filter(line) for line in lines] == [True] + [False] * 39
    assert sparing.filter(record("FAIL [relay-0#producer-5] [thrd:127.0.0.1:1]: refused"))
    assert sparing.filter(record("GETPID [relay-0#producer-4] [thrd:main]: retrying"))
    now = 111.0
    later = record("FAIL [relay-0#producer-4] [thrd:127.0.0.1:1]: refused")
    assert sparing.filter(later)
    assert later.getMessage().endswith("(and 39 more like it)")
