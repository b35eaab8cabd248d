"""How XLA compiles for tests."""

import os


def unoptimised() -> dict[str, str]:
    """Environment variables without LLVM's optimisations, read once, when XLA's backend starts.

    Nearly all of what tests compile runs a few times only, and that of progressive networks takes a
    tenth of the time so. Programs that a test starts are compiled as users' are, unless compiling
    is most of what they do.
    """
    return {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
    }
