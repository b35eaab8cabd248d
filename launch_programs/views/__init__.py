"""Figures, videos and reports of a run, and its mirror at Weights & Biases."""
