"""An order in the outbox names admissions of several lines: runs of numbers, each with its event.

A process of before can neither read nor write such a row.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

# What has documents has a key for each; what names admissions, one for each run.
_TO_RUNS = """
update outbox set
    keys = case when first_number is null then array_fill(key, array[messages]) else array[key] end,
    first_numbers = case when first_number is not null then array[first_number] end,
    counts = case when first_number is not null then array[cast(messages as bigint)] end
where key is not null
"""

_TO_ROWS = """
with runs as (delete from outbox where first_numbers is not null returning *)
insert into outbox (shard, topic, key, first_number, messages, created_at, sent_at)
select o.shard, o.topic, r.event_id, r.first, r.count, o.created_at, o.sent_at
from runs o cross join unnest(o.keys, o.first_numbers, o.counts) with ordinality as r (event_id, first, count, nth)
order by o.id, r.nth
"""


def upgrade() -> None:
    op.execute(
        "alter table outbox add first_numbers bigint[], add counts bigint[],"
        " drop constraint payload_or_admissions, drop constraint outbox_check"
    )
    op.execute(_TO_RUNS)
    op.execute(
        "alter table outbox drop key, drop first_number, alter keys set not null,"
        " add constraint payload_or_admissions check"
        " ((payload is null) = (first_numbers is not null) and (payload is null) = (counts is not null))"
    )


def downgrade() -> None:
    op.execute("alter table outbox add key text, add first_number bigint, alter keys drop not null")
    op.execute("alter table outbox drop constraint payload_or_admissions")
    op.execute(_TO_ROWS)
    op.execute(
        "alter table outbox drop first_numbers, drop counts,"
        " add constraint outbox_check check ((key is null) <> (keys is null)),"
        " add constraint payload_or_admissions check ((payload is null) = (first_number is not null))"
    )
