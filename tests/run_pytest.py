"""Runs one test file under Bazel, whose test targets are programs: `run_pytest.py FILE`."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
