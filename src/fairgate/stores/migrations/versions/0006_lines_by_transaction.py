"""Lines by the transaction that wrote them last: a reader of changes misses none that commits late.

Versions are given before the commit: who asks for "higher than the highest that I have seen" never sees the change of a
transaction that took its number earlier and committed later.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("alter table lines add column tx xid8 not null default pg_current_xact_id()")
    op.execute("""
        create function lines_written() returns trigger language plpgsql as $$
        begin
            new.tx := pg_current_xact_id();
            return new;
        end
        $$
    """)
    op.execute("create trigger lines_written before update on lines for each row execute function lines_written()")


def downgrade() -> None:
    op.execute("drop trigger lines_written on lines")
    op.execute("drop function lines_written")
    op.execute("alter table lines drop column tx")
