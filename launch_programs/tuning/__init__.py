"""Population-based training and random search, on Ray Tune."""
