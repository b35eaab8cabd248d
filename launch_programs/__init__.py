"""The Launchpad program and the command-line programs: `train`, `evaluate`."""
