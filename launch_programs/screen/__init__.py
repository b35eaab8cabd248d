"""What the user sees of a run in progress."""
