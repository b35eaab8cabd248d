"""Figures, videos, reports and mirrors of a run."""
