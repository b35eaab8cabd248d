"""How XLA compiles for tests."""

import os


def unoptimised() -> dict[str, str]:
    """Environment variables that turn off LLVM's optimisations, read once when XLA starts.

    Nearly all that tests compile runs only a few times, and progressive networks compile in a tenth
    of the time this way. Programs that a test starts are compiled as for users, unless compiling is
    most of what they do.
    """
    return {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
    }
