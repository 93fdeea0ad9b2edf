"""What became of the lines when Valkey lost data; and the wish of an operator to rebuild one."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("alter table lines add column rebuild integer not null default 0")  # the generation that shall end
    op.execute("""
        create table recoveries (
            event_id    fairgate_id not null references lines,
            generation  integer not null,      -- the one that ended
            watermark   bigint not null,       -- the highest of its sequences that was found again
            cause       text not null,
            present     bigint not null,       -- places that the server still had
            by_journal  bigint not null,       -- came back from the journal
            by_token    bigint not null default 0,
            removed     bigint not null,       -- were there, and should not have been
            waiting     bigint not null,
            seconds     double precision not null,
            at          timestamptz not null default clock_timestamp(),
            primary key (event_id, generation)
        )
    """)


def downgrade() -> None:
    op.execute("drop table recoveries")
    op.execute("alter table lines drop column rebuild")
