"""Logs tell no secrets; metrics come from one catalogue."""

from __future__ import annotations

import logging
from typing import Literal

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from fairgate import telemetry
from fairgate.logs import redacted, set_up_logs
from fairgate.telemetry import CATALOGUE, REQUESTS, exposition


@pytest.mark.parametrize(
    "text",
    [
        "token s1.Zy0zUzRHQWlmYU5S.a1dbd5ffb4cb9bf5 was refused",
        "placeToken=p1.68dabe.1099511627777.27657a29c5d70b77",
        "Authorization: Bearer abc.def",
        "cannot reach redis://user:hunter2@10.0.0.7:6379/0",
        "cannot reach postgresql://user:hunter2@10.0.0.7/db",
    ],
)
def test_a_secret_inside_a_text_is_not_logged(text: str) -> None:
    told = str(redacted(None, "info", {"event": text})["event"])
    assert "[redacted]" in told
    assert not any(secret in told for secret in ("hunter2", "a1dbd5", "27657a", "abc.def"))


@pytest.mark.parametrize("name", ["token", "service_token", "Authorization", "cookie", "email", "kafka_password"])
def test_a_field_named_like_a_secret_is_not_logged(name: str) -> None:
    assert redacted(None, "info", {name: "value", "event": "e"})[name] == "[redacted]"


def test_every_metric_of_ours_is_in_the_catalogue() -> None:
    REQUESTS.observe("/x", 200, 0.003)
    shown = {family.name for family in text_string_to_metric_families(exposition().decode())}
    ours = {name for name in shown if name.startswith("fairgate_") and not name.endswith("_created")}
    assert ours <= set(CATALOGUE)


def test_an_alert_is_about_the_metric_that_has_it() -> None:
    for entry in CATALOGUE.values():
        assert entry.help
        assert entry.alert is None or entry.alert.removeprefix("increase(").startswith(entry.name)


def test_requests_fall_into_cumulative_buckets() -> None:
    times = telemetry.RequestTimes()
    for seconds in (0.0005, 0.02, 99.0):
        times.observe("/queue/join", 200, seconds)
    histogram = next(iter(times.collect()))
    counts = {sample.labels["le"]: sample.value for sample in histogram.samples if sample.name.endswith("_bucket")}
    assert (counts["0.001"], counts["0.025"], counts["30.0"], counts["+Inf"]) == (1, 2, 2, 3)


def test_a_failing_duty_is_shown() -> None:
    class Duty:
        name, failing = "a-duty", "broken"

    telemetry.watch([Duty()])
    assert b'fairgate_service_failing{service="a-duty"} 1.0' in exposition()
    telemetry.watch([])


@pytest.mark.parametrize("format", ["json", "pretty"])
def test_an_exception_is_logged_with_its_place_and_without_its_variables(
    format: Literal["json", "pretty"], capsys: pytest.CaptureFixture[str]
) -> None:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    set_up_logs(format, "info", role="api")
    try:
        hidden = "hunter" + "2"
        _fail(len(hidden))
    except ZeroDivisionError as error:
        structlog.get_logger("fairgate.test").error("it broke", exc_info=error)
    finally:
        logging.getLogger().handlers = handlers
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    told = capsys.readouterr().err
    assert "it broke" in told
    assert "ZeroDivisionError" in told
    assert "api" in told
    assert "hunter2" not in told


def _fail(number: int) -> float:
    return number / 0
