"""projects and keys."""

import sqlalchemy as sa
from alembic import op


revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

OWNED = ('jobs', 'comparisons', 'estimates')


def _project() -> sa.Column:
    return sa.Column('project', sa.String(length=64), server_default='default', nullable=False)


def upgrade() -> None:
    projects = op.create_table('projects',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_projects'))
    )
    op.bulk_insert(projects, [{'name': 'default', 'created_at': 0.0}])
    op.create_table('api_keys',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('scopes', sa.JSON(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('expires_at', sa.Double(), nullable=True),
    sa.Column('revoked_at', sa.Double(), nullable=True),
    sa.Column('last_used_at', sa.Double(), nullable=True),
    sa.ForeignKeyConstraint(['project'], ['projects.name'], name=op.f('fk_api_keys_project')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_keys'))
    )
    op.create_index(op.f('ix_api_keys_project'), 'api_keys', ['project'], unique=False)
    op.create_table('page_sessions',
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('key_id', sa.String(length=40), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('expires_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['key_id'], ['api_keys.id'], name=op.f('fk_page_sessions_key_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('sha256', name=op.f('pk_page_sessions'))
    )
    op.create_index(op.f('ix_page_sessions_key_id'), 'page_sessions', ['key_id'], unique=False)
    op.create_table('audit_log',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.Column('project', sa.String(length=64), nullable=False),
    sa.Column('key_id', sa.String(length=40), nullable=True),
    sa.Column('action', sa.String(length=40), nullable=False),
    sa.Column('subject', sa.String(length=80), nullable=False),
    sa.Column('detail', sa.JSON(none_as_null=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_log'))
    )
    op.create_index('ix_audit_log_subject', 'audit_log', ['subject', 'id'], unique=False)
    _only_added_to()
    # Columns are added in place: a new table in the old one's stead would take all that refers to it along.
    for table in OWNED:
        op.add_column(table, _project())
    op.drop_index('ix_jobs_created', table_name='jobs')
    op.drop_index('ix_jobs_status', table_name='jobs')
    op.drop_index('ix_comparisons_created', table_name='comparisons')
    op.create_index('ix_jobs_created', 'jobs', ['project', 'created_at', 'id'], unique=False)
    op.create_index('ix_jobs_status', 'jobs', ['project', 'status', 'created_at', 'id'], unique=False)
    op.create_index('ix_comparisons_created', 'comparisons', ['project', 'created_at', 'id'], unique=False)
    with op.batch_alter_table('idempotency_keys') as keys:
        keys.alter_column('tenant', new_column_name='project', existing_type=sa.String(length=40), type_=sa.String(length=64), existing_nullable=False)
    op.execute("UPDATE idempotency_keys SET project = 'default' WHERE project = 'open'")


def downgrade() -> None:
    # Of other projects' keys there is no word in older versions, which would answer them to everybody.
    op.execute("DELETE FROM idempotency_keys WHERE project <> 'default'")
    op.execute("UPDATE idempotency_keys SET project = 'open'")
    with op.batch_alter_table('idempotency_keys') as keys:
        keys.alter_column('project', new_column_name='tenant', existing_type=sa.String(length=64), type_=sa.String(length=40), existing_nullable=False)
    op.drop_index('ix_comparisons_created', table_name='comparisons')
    op.drop_index('ix_jobs_status', table_name='jobs')
    op.drop_index('ix_jobs_created', table_name='jobs')
    for table in reversed(OWNED):
        op.drop_column(table, 'project')
    op.create_index('ix_jobs_created', 'jobs', ['created_at', 'id'], unique=False)
    op.create_index('ix_jobs_status', 'jobs', ['status', 'created_at', 'id'], unique=False)
    op.create_index('ix_comparisons_created', 'comparisons', ['created_at', 'id'], unique=False)
    op.drop_table('audit_log')
    if op.get_bind().dialect.name == 'postgresql':
        op.execute('DROP FUNCTION audit_log_is_only_added_to()')
    op.drop_table('page_sessions')
    op.drop_table('api_keys')
    op.drop_table('projects')


def _only_added_to() -> None:
    """Whoever holds the service's own connection can add to the log, and cannot rewrite it."""
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(
            "CREATE FUNCTION audit_log_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit_log is only added to'; END $$"
        )
        op.execute(
            'CREATE TRIGGER audit_log_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log '
            'FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_only_added_to()'
        )
        return
    for change in ('UPDATE', 'DELETE'):
        op.execute(
            f'CREATE TRIGGER audit_log_refuses_{change.lower()} BEFORE {change} ON audit_log '
            "BEGIN SELECT RAISE(ABORT, 'audit_log is only added to'); END"
        )
