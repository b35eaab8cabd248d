"""The Launchpad program and the command-line programs, such as `train` and `evaluate`."""

import sys
import warnings

from launch_programs.console import at_start

# Google's client libraries, which Orbax loads if installed (`make setup-vertex`), warn about any
# Python before 3.11. Launchpad has no build for a newer one.
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
