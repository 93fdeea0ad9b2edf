"""How far each consumer group is behind, as who measures it tells the processes that admit."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        create table lags (
            "group"          text not null,
            topic            text not null,
            messages         bigint not null,
            seconds          double precision not null,                           -- age of the oldest unread message
            bounds_admission boolean not null,
            measured_at      timestamptz not null default clock_timestamp(),
            primary key ("group", topic)
        ) with (fillfactor = 50)
    """)


def downgrade() -> None:
    op.execute("drop table lags")
