"""How far the sweeps have found everything complete: the next process goes on there."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("create table sweeps (name text primary key, complete_until timestamptz not null)")


def downgrade() -> None:
    op.execute("drop table sweeps")
