"""What has changed of the lines is found by an index.

A thousand lines that are opened together were read a thousand times by each process.
"""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("create index lines_by_tx on lines (tx)")


def downgrade() -> None:
    op.execute("drop index lines_by_tx")
