"""Health in words and numbers, for the public routes and for every role's own server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

# Each dependency or duty by name: None when it is well, else what is wrong.
Readiness: TypeAlias = Callable[[], Mapping[str, str | None]]

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def readiness(checks: Mapping[str, str | None], *, in_words: bool = True) -> tuple[int, bytes]:
    """Status and JSON. `in_words` False says only *that* something fails: the words may name servers."""
    ready = all(wrong is None for wrong in checks.values())
    told = {name: "ok" if wrong is None else (wrong if in_words else "failing") for name, wrong in checks.items()}
    return 200 if ready else 503, msgspec.json.encode({"ready": ready, "checks": told})
