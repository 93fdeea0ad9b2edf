"""When a duty was last alive, by the database's clock; and the age of an idempotency key, so that it can be pruned."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("create table heartbeats (name text primary key, at timestamptz not null) with (fillfactor = 50)")
    op.execute("create index idempotency_keys_at on idempotency_keys (created_at)")


def downgrade() -> None:
    op.execute("drop table heartbeats")
    op.execute("drop index idempotency_keys_at")
