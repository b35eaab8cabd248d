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

# There is nothing but JAX, Haiku, what these two need, and this project's agents.
ONLY_JAX_AND_HAIKU = """
import sys

class Missing:
    installed = {
        *sys.stdlib_module_names, "agents",
        "jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy",
        "absl", "haiku", "jmp", "tabulate",
    }

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in self.installed and not top.startswith("_sysconfigdata"):  # Python's own
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
