"""Machines that lack packages, as programs see them."""

# An import of one of these packages fails, as where they are not installed.
WITHOUT_ACME = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("acme", "gym_notices", "launchpad", "reverb", "tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
