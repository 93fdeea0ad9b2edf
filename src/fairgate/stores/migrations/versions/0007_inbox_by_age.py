"""Inbox rows by their age, so that old ones can go. They come in the order of time: a BRIN will do, and is small."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        "create index notifications_by_age on notifications using brin (created_at) "
        "with (pages_per_range = 32, autosummarize = on)"
    )


def downgrade() -> None:
    op.execute("drop index notifications_by_age")
