"""Makes sure that there is a Chromium for `make test-browser`: `python3 tools/browser.py`.

Does nothing if one is in PATH. As root on a Debian-like system, it installs one with apt-get;
elsewhere it asks the user to. Needs only the standard library of Python 3.6 or newer.
"""

import os
import shutil
import subprocess
import sys
from typing import Optional

# Its names: in Debian and others, in older Ubuntus, and from Google.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> Optional[str]:
    """Path of the browser; None if there is none."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    return None


def main() -> int:
    """Entry point; returns the exit code."""
    if find() is not None:
        return 0
    ask = "error: no browser: install Chromium, so that one of {} is in PATH".format(
        ", ".join(NAMES)
    )
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(ask, file=sys.stderr)
        return 1
    print("Installing chromium", flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"],
    ):
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            sys.stderr.write(done.stdout.decode(errors="replace"))
            print("error: {} failed".format(" ".join(command)), file=sys.stderr)
            return 1
    if find() is None:
        print(ask, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
