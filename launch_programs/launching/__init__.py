"""Starts a program's nodes, on one machine or several, and keeps them running."""
