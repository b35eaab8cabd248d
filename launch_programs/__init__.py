"""The Launchpad program and the command-line programs: `train`, `evaluate`."""

import warnings

# Google's clients, which Orbax loads where they are installed (`make setup-vertex`), warn of every
# Python before 3.11. Launchpad has none for a newer one.
warnings.filterwarnings("ignore", "You are using a non-supported Python version", FutureWarning)
