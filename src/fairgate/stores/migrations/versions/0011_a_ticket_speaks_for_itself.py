"""The inbox row of a ticket has no payload: what it says stands in the ticket, and the words are the reader's."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("alter table notifications alter payload drop not null")
    # What is there has one: nothing has to be read again.
    op.execute(
        "alter table notifications add constraint notifications_say_something "
        "check (payload is not null or kind = 'ticket:issued') not valid"
    )


def downgrade() -> None:
    """The former version kept the words here: in English, whoever reads them."""
    op.execute("""
        update notifications n set payload = jsonb_build_object(
            'id', n.id, 'kind', n.kind, 'ticketId', t.ticket_id, 'eventId', t.event_id, 'userId', t.user_id,
            'number', t.number, 'sequence', t.sequence, 'status', t.status,
            'timestamp', floor(extract(epoch from t.issued_at) * 1000)::bigint,
            'title', 'Your ticket has been issued!',
            'body', format('Ticket no. %s for %s is yours.', t.number, t.event_id)
        ) from tickets t where n.payload is null and t.ticket_id = substr(n.id, length('issued:') + 1)::uuid
    """)
    op.execute("delete from notifications where payload is null")
    op.execute("alter table notifications drop constraint notifications_say_something")
    op.execute("alter table notifications alter payload set not null")
