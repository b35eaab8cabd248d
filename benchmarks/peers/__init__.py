"""Other agents that `benchmarks.atari` compares with, each with an environment of its own.

A peer is a program with the flags of `records.parse_flags`. It writes the tables of `records`,
saves itself once a minute, continues from there when it is started again, and ends in order on
SIGTERM.
"""
