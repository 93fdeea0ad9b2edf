"""A leave that Kafka does not have in time is kept beside who was sent away: both are ends without a ticket."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _reasons("'sold_out', 'closed', 'left'")


def downgrade() -> None:
    op.execute("delete from departures where reason = 'left'")
    _reasons("'sold_out', 'closed'")


def _reasons(allowed: str) -> None:
    op.execute("alter table departures drop constraint departures_reason_check")
    op.execute(f"alter table departures add constraint departures_reason_check check (reason in ({allowed}))")
