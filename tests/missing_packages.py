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

# There is nothing but JAX, Haiku, what these two need, and this project.
ONLY_JAX_AND_HAIKU = """
import importlib.machinery as machinery, sys

INSTALLED = {
    "jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy",
    "absl", "haiku", "jmp", "tabulate",
}

class Finder(machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        if spec is None or name.partition(".")[0] in INSTALLED:
            return spec
        return None if "site-packages" in str(spec.origin) else spec

sys.meta_path[:] = [machinery.BuiltinImporter, machinery.FrozenImporter, Finder]
"""
