"""SQL takes the ids that Python takes, and no others."""

from __future__ import annotations

import asyncpg
import pytest

from fairgate.domain.ids import is_id
from tests.conftest import Servers

SAMPLES = [
    "a",
    "A-z_0.:@9",
    "x" * 64,
    "x" * 65,
    "",
    " ",
    "a b",
    "a\n",
    "\na",
    "a\tb",
    "a/b",
    "a'b",
    'a"b',
    "ä",
    "대기열",
    "é" * 40,
]


@pytest.mark.parametrize("text", SAMPLES)
async def test_sql_and_python_agree_on_what_an_id_is(servers: Servers, text: str) -> None:
    sql = await asyncpg.connect(servers.postgres_dsn)
    try:
        taken = await sql.fetchval("select $1::text::fairgate_id", text) == text
    except asyncpg.CheckViolationError:
        taken = False
    finally:
        await sql.close()
    assert taken == is_id(text)
