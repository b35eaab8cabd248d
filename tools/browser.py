"""Makes sure that there is a Chromium for `make test-browser`: `python3 tools/browser.py`.

Nothing is done where one is found in PATH. On a Debian-like system, as root, it is installed with
apt-get; elsewhere the user is asked to. Needs only the standard library, of any Python from 3.6 on.
"""

import os
import shutil
import subprocess
import sys
from typing import Optional

# What it is called: by Debian and others, by older Ubuntus, by Google.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> Optional[str]:
    """Path of the browser, None without one."""
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
