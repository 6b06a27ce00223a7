"""comparisons."""

import sqlalchemy as sa
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('comparisons',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.Text(), nullable=True),
    sa.Column('labels', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('spec', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('resolved_spec', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('plan', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('network', sa.String(length=40), nullable=False),
    sa.Column('dataset', sa.String(length=80), nullable=False),
    sa.Column('resource_class', sa.String(length=8), nullable=False),
    sa.Column('status', sa.String(length=16), nullable=False),
    sa.Column('phase', sa.String(length=8), sa.Computed("CASE WHEN status IN ('tuning','running','cancelling') THEN 'active' ELSE 'terminal' END", persisted=True), nullable=False),
    sa.Column('chosen', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('result', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('error', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('sentence', sa.Text(), nullable=True),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('finished_at', sa.Double(), nullable=True),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name=op.f('ck_comparisons_result_means_succeeded')),
    sa.CheckConstraint("status IN ('tuning','running','cancelling','succeeded','failed','cancelled')", name=op.f('ck_comparisons_status')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_comparisons'))
    )
    with op.batch_alter_table('comparisons', schema=None) as batch_op:
        batch_op.create_index('ix_comparisons_active', ['created_at'], unique=False, sqlite_where=sa.text("phase = 'active'"), postgresql_where=sa.text("phase = 'active'"))
        batch_op.create_index('ix_comparisons_created', ['created_at', 'id'], unique=False)

    op.create_table('comparison_runs',
    sa.Column('comparison_id', sa.String(length=40), nullable=False),
    sa.Column('stage', sa.String(length=8), nullable=False),
    sa.Column('arm', sa.String(length=60), nullable=False),
    sa.Column('trial', sa.Integer(), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('queued', sa.Boolean(), nullable=False),
    sa.Column('job_id', sa.String(length=40), nullable=True),
    sa.ForeignKeyConstraint(['comparison_id'], ['comparisons.id'], name=op.f('fk_comparison_runs_comparison_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_comparison_runs_job_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('comparison_id', 'stage', 'arm', 'trial', 'seed', name=op.f('pk_comparison_runs'))
    )
    with op.batch_alter_table('comparison_runs', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_comparison_runs_job_id'), ['job_id'], unique=False)



def downgrade() -> None:
    with op.batch_alter_table('comparison_runs', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_comparison_runs_job_id'))

    op.drop_table('comparison_runs')
    with op.batch_alter_table('comparisons', schema=None) as batch_op:
        batch_op.drop_index('ix_comparisons_created')
        batch_op.drop_index('ix_comparisons_active', sqlite_where=sa.text("phase = 'active'"), postgresql_where=sa.text("phase = 'active'"))

    op.drop_table('comparisons')
