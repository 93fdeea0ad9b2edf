"""A stand-in for `fairgate run <role>`: ready at once, writes down when it starts and stops, ends on SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

DIARY = Path(os.environ["FAIRGATE_DATA_DIR"]) / "diary"
NAME = os.environ["FAIRGATE_INSTANCE"]


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def note(what: str) -> None:
    with DIARY.open("a") as diary:
        diary.write(f"{what} {NAME}\n")


def end(*_: object) -> None:
    note("stop")
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    note("start")
    HTTPServer(("127.0.0.1", int(os.environ["FAIRGATE_OPS_PORT"])), Ready).serve_forever(poll_interval=0.05)
