"""SQL checks around the migration, and the small program that runs them."""
