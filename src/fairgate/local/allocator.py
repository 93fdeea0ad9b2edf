"""A memory allocator for a program that was built with the C library's (decision 20)."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping

PACKAGE, LIBRARY = "cmeel-mimalloc", "libmimalloc.so"


def with_allocator(environment: Mapping[str, str]) -> dict[str, str]:
    """The same, with mimalloc for the loader to put before the C library's; unchanged where it is not installed.

    A program with an allocator of its own, as distributions build theirs, goes on with that.
    """
    library = _library()
    if library is None:
        return dict(environment)
    preloaded = filter(None, [library, environment.get("LD_PRELOAD")])
    return {**environment, "LD_PRELOAD": ":".join(preloaded)}


def _library() -> str | None:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((os.fspath(file.locate()) for file in files if file.name == LIBRARY), None)
