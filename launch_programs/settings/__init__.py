"""From flags to a run's configuration."""
