"""What a developer of the schema runs: the next migration, and all that is generated from it."""
