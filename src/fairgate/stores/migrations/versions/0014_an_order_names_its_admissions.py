"""What orders tickets names the numbers of its admissions, where it repeated what they say.

A process of before cannot read such a row.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

# As it was written before, by SQL.
_SPELLED_OUT = """
update outbox o set payload = (
    select string_agg('{"userId":"' || a.user_id || '","sequence":' || a.sequence || ',"number":' || a.number
                      || ',"eventId":"' || a.event_id || '","timestamp":'
                      || floor(extract(epoch from a.admitted_at) * 1000)::bigint || '}', E'\\n' order by a.number)
    from admissions a
    where a.event_id = o.key and a.number >= o.first_number and a.number < o.first_number + o.messages
) where o.payload is null
"""


def upgrade() -> None:
    op.execute(
        "alter table outbox add first_number bigint, alter payload drop not null,"
        " add constraint payload_or_admissions check ((payload is null) = (first_number is not null))"
    )


def downgrade() -> None:
    op.execute("alter table outbox drop constraint payload_or_admissions")
    op.execute(_SPELLED_OUT)
    op.execute("alter table outbox drop first_number, alter payload set not null")
