"""Rows that a rush only adds are vacuumed and analyzed by the million, not by the fifth of what was there before.

They are never dead, and their statements are planned by index whatever the statistics say (decision 16): in a rush both
cost a core for seconds and bring nothing. What BRIN indexes need of a vacuum they get range by range.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

_TABLES = ("admissions", "tickets", "notifications")
_BY_TIME = ("admissions_by_time", "tickets_by_time")
_SETTINGS = {"autovacuum_vacuum_insert_threshold": 5_000_000, "autovacuum_analyze_threshold": 5_000_000}


def upgrade() -> None:
    settings = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
    for table in _TABLES:
        op.execute(f"alter table {table} set ({settings})")
    for index in _BY_TIME:
        op.execute(f"alter index {index} set (autosummarize = on)")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"alter table {table} reset ({', '.join(_SETTINGS)})")
    for index in _BY_TIME:
        op.execute(f"alter index {index} reset (autosummarize)")
