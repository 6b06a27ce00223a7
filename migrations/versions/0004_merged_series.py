"""merged series."""

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('series_blocks', sa.Column('summary', sa.LargeBinary(), nullable=True))
    op.create_index('ix_series_blocks_unmerged', 'series_blocks', ['job_id'], unique=False, sqlite_where=sa.text('summary IS NULL'), postgresql_where=sa.text('summary IS NULL'))

    op.create_table('series_rollups',
    sa.Column('block_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
    sa.Column('level', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('step_from', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('step_to', sa.Integer(), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('lost', sa.Integer(), nullable=False),
    sa.Column('cells', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['block_id'], ['series_blocks.id'], name=op.f('fk_series_rollups_block_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('block_id', 'level', 'step_from', name=op.f('pk_series_rollups'))
    )


def downgrade() -> None:
    op.drop_table('series_rollups')
    # Without a new table: dropping the old one would take the segments with it. Merged ones stay, in a form that older
    # versions do not read.
    op.drop_index('ix_series_blocks_unmerged', table_name='series_blocks', sqlite_where=sa.text('summary IS NULL'), postgresql_where=sa.text('summary IS NULL'))
    op.drop_column('series_blocks', 'summary')
