"""What the documents tell people to type works: every `sh` block with curl, as printed, against a whole stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PRINTED = re.compile(r"(localhost|127\.0\.0\.1):8080")
SCRIPT_S = 120

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def script(page: str, api_url: str) -> str:
    """All blocks but the calls of make, in the order of the page: one session of a shell."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))
    session = [block for block in blocks if not block.startswith("make ")]
    return PRINTED.sub(api_url.removeprefix("http://"), "\n".join(session))


@pytest.fixture
def home(stack: Any, tmp_path: Path) -> Path:
    """Where a reader stands who called `make up`: the environment, and the data directory with `stack.json`."""
    config = stack.config
    known = {name: getattr(config, name).get_secret_value() for name in ("service_token", "operator_token")}
    known["postgres_dsn"] = config.postgres_dsn.get_secret_value()
    (tmp_path / "fairgate-data").mkdir()
    (tmp_path / "fairgate-data" / "stack.json").write_text(json.dumps(known))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".curlrc").write_text('silent\nshow-error\nfail-with-body\nmax-time = 30\nwrite-out = "\\n"\n')
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_every_command_of_the_page_works(page: str, stack: Any, home: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script(page, stack.api_url)],
        cwd=home,
        env={**os.environ, "CURL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SCRIPT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search(r'"position":\d+,"sequence":\d+', done.stdout), done.stdout
