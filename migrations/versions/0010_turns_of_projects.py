"""turns of projects."""

import sqlalchemy as sa
from alembic import op


revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")
ACTIVE = sa.text("phase = 'active'")


def upgrade() -> None:
    op.add_column('projects', sa.Column('served_at', sa.Double(), nullable=True))
    op.drop_index('ix_jobs_queue', table_name='jobs')
    op.create_index('ix_jobs_queue', 'jobs', ['resource_class', 'project', sa.text('priority DESC'), 'created_at', 'id'], unique=False, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_index('ix_jobs_running', 'jobs', ['project'], unique=False, sqlite_where=ACTIVE, postgresql_where=ACTIVE)


def downgrade() -> None:
    op.drop_index('ix_jobs_running', table_name='jobs')
    op.drop_index('ix_jobs_queue', table_name='jobs')
    op.create_index('ix_jobs_queue', 'jobs', ['resource_class', sa.text('priority DESC'), 'created_at', 'id'], unique=False, sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.drop_column('projects', 'served_at')
