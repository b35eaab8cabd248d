"""The Launchpad program and the command-line programs: `train`, `evaluate`."""

import sys
import warnings

from launch_programs.console import at_start

# Google's clients, which Orbax loads where they are installed (`make setup-vertex`), warn of every
# Python before 3.11. Launchpad has none for a newer one.
warnings.filterwarnings("ignore", "You are using a non-supported Python version", FutureWarning)

if at_start.is_program():
    at_start.begin_imports()
try:
    at_start.check_packages()
    if at_start.is_program():
        at_start.check_stack()
except ImportError as error:
    if not at_start.is_program():
        raise
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
