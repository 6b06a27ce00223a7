"""verifications."""

import sqlalchemy as sa
from alembic import op


revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('verifications',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('job_id', sa.String(length=40), nullable=False),
    sa.Column('resource_class', sa.String(length=8), nullable=False),
    sa.Column('from_step', sa.Integer(), nullable=False),
    sa.Column('tolerance', sa.Double(), nullable=False),
    sa.Column('status', sa.String(length=8), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('worker_id', sa.String(length=40), nullable=True),
    sa.Column('lease_expires_at', sa.Double(), nullable=True),
    sa.Column('verdict', sa.String(length=16), nullable=True),
    sa.Column('result', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('error', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('started_at', sa.Double(), nullable=True),
    sa.Column('finished_at', sa.Double(), nullable=True),
    sa.CheckConstraint("(status = 'done') = (result IS NOT NULL)", name=op.f('ck_verifications_result_means_done')),
    sa.CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name=op.f('ck_verifications_status')),
    sa.CheckConstraint("verdict IN ('bitwise', 'tolerance', 'different')", name=op.f('ck_verifications_verdict')),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_verifications_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_verifications'))
    )
    op.create_index('ix_verifications_job', 'verifications', ['job_id', 'id'], unique=False)
    op.create_index('ix_verifications_open', 'verifications', ['created_at'], unique=False, sqlite_where=sa.text('finished_at IS NULL'), postgresql_where=sa.text('finished_at IS NULL'))


def downgrade() -> None:
    op.drop_index('ix_verifications_open', table_name='verifications', sqlite_where=sa.text('finished_at IS NULL'), postgresql_where=sa.text('finished_at IS NULL'))
    op.drop_index('ix_verifications_job', table_name='verifications')
    op.drop_table('verifications')
