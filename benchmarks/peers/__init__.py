"""Other agents that `benchmarks.atari` compares with, each in its own Python environment.

A peer is a program with the flags of `records.parse_flags`. It writes the tables of `records`,
saves a checkpoint once a minute, resumes from it when started again, and stops cleanly on SIGTERM.
"""
