"""That the owner of a ticket was told is a row of its own kind, found by the ticket.

A row of the inbox is found by its user and id, so the rows of a rush went anywhere in that index; a ticket's id grows.
Who wants the inbox of a user goes by the tickets of that user. A process of before does not see the new rows.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

_MOVED = """
with of_tickets as (
    delete from notifications where id ~ '^issued:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' returning *
)
insert into tickets_told (ticket_id, user_id, created_at, seen_at, tx, seq)
select distinct on (o.ticket_id) o.*
from (
    select substr(id, length('issued:') + 1)::uuid as ticket_id, user_id, created_at, seen_at, tx, seq from of_tickets
) o
order by o.ticket_id, o.tx, o.seq
"""
_RUSH = "autovacuum_vacuum_insert_threshold = 5000000, autovacuum_analyze_threshold = 5000000"


def upgrade() -> None:
    # One order for both kinds of rows: (tx, seq).
    op.execute(f"""
        create table tickets_told (
            ticket_id  uuid primary key,
            user_id    fairgate_id not null,
            created_at timestamptz not null default clock_timestamp(),
            seen_at    timestamptz,
            tx         xid8 not null default pg_current_xact_id(),
            seq        bigint not null default nextval('notifications_seq_seq')
        ) with ({_RUSH})
    """)
    op.execute(_MOVED)
    op.execute("create index tickets_told_unseen on tickets_told (tx) where seen_at is null")
    op.execute(
        "create index tickets_told_by_age on tickets_told using brin (created_at) "
        "with (pages_per_range = 32, autosummarize = on)"
    )
    op.execute("delete from notifications where payload is null")
    op.execute("alter table notifications drop constraint notifications_say_something")
    op.execute("alter table notifications alter payload set not null")
    op.execute("""
        create view inbox as
        select user_id, id, kind, payload, created_at, seen_at, tx, seq from notifications
        union all
        select user_id, 'issued:' || ticket_id, 'ticket:issued', null, created_at, seen_at, tx, seq from tickets_told
    """)


def downgrade() -> None:
    op.execute("drop view inbox cascade")
    op.execute("alter table notifications alter payload drop not null")
    op.execute(
        "alter table notifications add constraint notifications_say_something "
        "check (payload is not null or kind = 'ticket:issued') not valid"
    )
    op.execute("""
        insert into notifications (user_id, id, kind, created_at, seen_at, tx, seq)
        overriding system value
        select user_id, 'issued:' || ticket_id, 'ticket:issued', created_at, seen_at, tx, seq from tickets_told
    """)
    op.execute("drop table tickets_told")
