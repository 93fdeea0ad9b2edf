"""Which dead letters were sent again: Kafka has no way to strike out a single record."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        create table redriven (
            topic       text not null,                                          -- where the record first stood
            partition   integer not null,
            "offset"    bigint not null,
            written_ms  bigint not null,                                          -- tells it from a topic made anew
            redriven_at timestamptz not null default clock_timestamp(),
            primary key (topic, partition, "offset", written_ms)
        )
    """)
    op.execute("create index redriven_at on redriven (redriven_at)")


def downgrade() -> None:
    op.execute("drop table redriven")
