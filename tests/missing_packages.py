"""Code that hides packages, as on machines that lack them."""

# These packages are not found.
WITHOUT_ACME = """
import importlib.machinery as machinery, sys

MISSING = {"acme", "gym", "gym_notices", "courier", "launchpad", "reverb", "tensorflow"}

class Finder(machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)

sys.meta_path[:] = [machinery.BuiltinImporter, machinery.FrozenImporter, Finder]
"""

# Only JAX, Haiku, their dependencies and this project are found.
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
