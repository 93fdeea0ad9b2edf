"""Logs: a line of JSON, or colours for a person; no secret leaves through them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal

import structlog

_SECRET_NAMES = re.compile(r"token|secret|password|authorization|cookie|email|credential|dsn", re.IGNORECASE)
# Our tokens and anybody's bearer, wherever they stand in a text; the password of a URL.
_SECRET_TEXT = re.compile(r"\b(?:s1|p1)\.[\w.-]{8,}|(?i:bearer)\s+[^\s\"']+|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")

Event = MutableMapping[str, Any]


def redacted(_logger: object, _method: str, event: Event) -> Event:
    """No secret or personal datum leaves through a log, whoever wrote the line."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = "[redacted]"
        elif isinstance(value, str):
            event[name] = _SECRET_TEXT.sub("[redacted]", value)
    return event


def set_up_logs(format: Literal["auto", "json", "pretty"] = "auto", level: str = "info", **bound: str) -> None:
    """To stderr: a JSON document a line, or colours for a person (`auto`: where stderr is a terminal).

    `bound` (role, instance) is in every line. Other libraries' loggers go the same way.
    """
    pretty = format == "pretty" or (format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redacted,
    ]
    structlog.contextvars.bind_contextvars(**bound)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(shared, _renderer(pretty), level)


def _renderer(pretty: bool) -> Callable[[Any, str, Event], str | bytes | Mapping[str, Any]]:
    if pretty:
        # Plain tracebacks: the pretty ones take seconds of the loop, and show what was in the variables.
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _route_standard_logging(shared: list[Any], renderer: Any, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These tell every start and every request; ours say what matters.
    for name in ("uvicorn", "uvicorn.error", "engineio", "socketio", "asyncio", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
