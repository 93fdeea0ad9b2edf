"""What came from anybody, made fit for a terminal: no secret, no personal datum, no control character."""

from __future__ import annotations

import json
import re
from typing import Any

from fairgate.logs import redacted
from fairgate.streams.records import Record

SHOWN_MAX = 4_000
# In a value that is no JSON: still `"token": "…"`, as it stands in a broken document.
_NAMED = re.compile(
    r"(\"[^\"]*(?:token|secret|password|authorization|cookie|email|credential|dsn)[^\"]*\"\s*:\s*)(\"[^\"]*\"?|[^,}\s]+)",
    re.I,
)


def shown(raw: bytes | str | None, name: str = "value") -> str:
    """One line, bounded. `name` is the header's: one that is named like a secret is not shown."""
    if raw is None:
        return "-"
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    clean = printable(str(redacted(None, "", {name: _without_secrets(text)})[name]))
    return clean if len(clean) <= SHOWN_MAX else f"{clean[:SHOWN_MAX]}… ({len(text)} characters)"


def headers_shown(record: Record) -> list[tuple[str, str]]:
    return [(printable(name), shown(value, name)) for name, value in record.headers]


def printable(text: str) -> str:
    """Without what a terminal would obey: escapes, line ends, directions."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _without_secrets(text: str) -> str:
    try:
        return json.dumps(_clean(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return _NAMED.sub(r"\1\"[redacted]\"", text)


def _clean(value: Any) -> Any:
    match value:
        case dict():
            return {name: _clean(inner) for name, inner in redacted(None, "", dict(value)).items()}
        case list():
            return [_clean(inner) for inner in value]
        case _:
            return value
