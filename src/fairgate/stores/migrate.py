"""Bring the database to this version's shape: the migrations once each, then the functions as they are now."""

from __future__ import annotations

import asyncio
from pathlib import Path

import alembic.command
import sqlalchemy
from alembic.config import Config as AlembicConfig
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import await_only

from fairgate.errors import ServerUnreachable

_HERE = Path(__file__).parent

# Two `up` at the same moment must not migrate twice at once.
_MIGRATION_LOCK = 7_263_001


def migrate(dsn: str) -> None:
    """Blocks until done. `dsn` as `postgresql://…`. Safe to repeat, also concurrently. Raises `ServerUnreachable`."""
    asyncio.run(_migrate(dsn))


async def _migrate(dsn: str) -> None:
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text(f"select pg_advisory_lock({_MIGRATION_LOCK})"))
            await connection.commit()
            await connection.run_sync(_upgrade)
            await connection.commit()
    except (OSError, sqlalchemy.exc.InterfaceError) as error:
        raise ServerUnreachable(f"PostgreSQL does not answer: {error}", "check FAIRGATE_POSTGRES_DSN") from error
    finally:
        await engine.dispose()


def _upgrade(connection: sqlalchemy.Connection) -> None:
    alembic.command.upgrade(settings(connection), "head")
    for file in sorted((_HERE / "functions").glob("*.sql")):
        run_script(connection, file)


def settings(connection: sqlalchemy.Connection) -> AlembicConfig:
    """For alembic's own commands, over this connection."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(_HERE / "migrations"))
    config.attributes["connection"] = connection
    return config


def run_script(connection: sqlalchemy.Connection, file: Path) -> None:
    """Many statements at once, which only the driver itself takes. For migrations."""
    driver = connection.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(file.read_text(encoding="utf-8")))
