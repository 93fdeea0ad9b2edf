"""The tables."""

from pathlib import Path

from alembic import op

from fairgate.stores.migrate import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_script(op.get_bind(), Path(__file__).with_suffix(".sql"))


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first version")
