"""estimates."""

import sqlalchemy as sa
from alembic import op


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('estimates',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('spec_sha256', sa.String(length=64), nullable=False),
    sa.Column('resolved_spec', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('resource_class', sa.String(length=8), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('taken_at', sa.Double(), nullable=True),
    sa.Column('worker_id', sa.String(length=40), nullable=True),
    sa.Column('answer', sa.JSON(none_as_null=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_estimates'))
    )
    op.create_index(op.f('ix_estimates_spec_sha256'), 'estimates', ['spec_sha256'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_estimates_spec_sha256'), table_name='estimates')
    op.drop_table('estimates')
