"""`fairgate run <role>`: one process of the pipeline. `fairgate migrate`: the database's shape."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from fairgate.cli.options import DataDir


class RoleName(enum.StrEnum):
    API = "api"
    ADMISSION = "admission"
    RELAY = "relay"
    TICKETING = "ticketing"
    NOTIFICATION = "notification"
    LIVE = "live"


def register(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(migrate)


def run(
    role: Annotated[RoleName, typer.Argument(help="Which part of the pipeline.")],
    data_dir: DataDir = Path("fairgate-data"),
) -> None:
    """Run one role until SIGTERM or Ctrl-C; settings come from FAIRGATE_* (docs/configuration.md).

    Example: FAIRGATE_POSTGRES_DSN=… FAIRGATE_VALKEY_URL=… FAIRGATE_KAFKA_BOOTSTRAP=… fairgate run admission
    """
    from fairgate.config import Config
    from fairgate.runner import run_role

    run_role(role.value, Config(data_dir=data_dir))


def migrate(data_dir: DataDir = Path("fairgate-data")) -> None:
    """Bring the database to this version. Safe to repeat."""
    from fairgate.config import Config
    from fairgate.links import dsn_of
    from fairgate.stores.migrate import migrate as bring_up_to_date

    bring_up_to_date(dsn_of(Config(data_dir=data_dir)))
    print("the database is up to date")
