"""Run by Alembic with the connection that `sql_store` hands over."""

from alembic import context

from fhir_bridge.adapters.sql_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
