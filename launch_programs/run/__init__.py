"""A run on disk and in memory: configuration, directory, tables, checkpoints, status."""
