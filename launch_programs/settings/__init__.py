"""Turns flags into a run's configuration."""
