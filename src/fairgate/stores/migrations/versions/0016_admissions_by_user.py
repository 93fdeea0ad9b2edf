"""The index of admissions that is in random order begins with what tells them apart: the user, not the event.

Whoever looks into it compares the event at each step, which is the same for a whole crowd. The rule stays.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("alter table admissions add unique (user_id, event_id, sequence)")
    op.execute("alter table admissions drop constraint admissions_event_id_user_id_sequence_key")


def downgrade() -> None:
    op.execute("alter table admissions add unique (event_id, user_id, sequence)")
    op.execute("alter table admissions drop constraint admissions_user_id_event_id_sequence_key")
