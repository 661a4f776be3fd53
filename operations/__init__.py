"""SQL that an operator runs by hand, and the commands around backups, exports and imports."""
