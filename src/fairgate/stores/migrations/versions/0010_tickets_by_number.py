"""An admission is settled once: said by its number, which only grows, instead of by its user.

The same rule, since a number belongs to one admission; its index grows at the end, where one by user takes a page
anywhere for every ticket. A user's tickets are found by the two partial indexes together.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

_LIVE = "status in ('pending', 'confirmed')"
_ENDED = "status in ('cancelled', 'expired')"


def upgrade() -> None:
    op.execute("alter table tickets add unique (event_id, number)")
    op.execute("alter table tickets drop constraint tickets_user_id_event_id_sequence_key")
    op.execute("drop index one_live_ticket")
    op.execute(f"create unique index one_live_ticket on tickets (user_id, event_id) where {_LIVE}")
    op.execute(f"create index tickets_ended on tickets (user_id) where {_ENDED}")


def downgrade() -> None:
    op.execute("alter table tickets add unique (user_id, event_id, sequence)")
    op.execute("alter table tickets drop constraint tickets_event_id_number_key")
    op.execute("drop index tickets_ended")
    op.execute("drop index one_live_ticket")
    op.execute(f"create unique index one_live_ticket on tickets (event_id, user_id) where {_LIVE}")
