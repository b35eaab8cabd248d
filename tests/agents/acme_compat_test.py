"""What can be imported when; each test uses a fresh interpreter, as imports cannot be undone."""

import pathlib
import subprocess
import sys

import pytest

from tests.missing_packages import WITHOUT_ACME

ROOT = pathlib.Path(__file__).parents[2]


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240
    )


def test_acmes_builders_need_the_aliases() -> None:
    process = run("import acme.agents.jax.builders")
    assert process.returncode != 0
    # Once this fails, Acme or JAX has changed, and the module is no longer needed.
    assert "AttributeError: module 'jax' has no attribute 'xla'" in process.stderr


def test_the_builder_imports_in_a_fresh_interpreter() -> None:
    process = run(
        "from agents.popart_impala.builder import PopArtIMPALABuilder\n"
        "from acme.agents.jax import builders\n"
        "assert issubclass(PopArtIMPALABuilder, builders.ActorLearnerBuilder)\n"
    )
    assert process.returncode == 0, process.stderr
    assert "unmaintained" not in process.stdout + process.stderr  # gym's notice


def test_aliases_are_set_where_missing_only_and_once() -> None:
    process = run(
        "import jax, jax.numpy\n"
        "own = jax.numpy.DeviceArray = object()\n"  # as in a JAX that still has the name
        "from agents import acme_compat\n"
        "assert jax.numpy.DeviceArray is own\n"
        "xla = jax.xla\n"
        "acme_compat.restore_removed_jax_names()\n"
        "assert jax.xla is xla\n"
        "assert jax.xla.DeviceArray is jax.pxla.ShardedDeviceArray is jax.Array\n"
        "assert jax.tree_map is jax.tree.map\n"
    )
    assert process.returncode == 0, process.stderr


def test_the_core_needs_neither_acme_nor_launchpad_nor_reverb_nor_tensorflow() -> None:
    process = run(
        WITHOUT_ACME + "from agents.popart_impala import Config\n"
        "from examples.in_process import train\n"
        "train('catch_x1', Config(network='mlp', batch_size=4), updates=2)\n"
        "try:\n"
        "    from agents.popart_impala import PopArtIMPALALearner\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    assert process.returncode == 0, process.stderr
    # The packages really could not be imported.
    assert process.stdout.splitlines()[-1] == "No module named 'acme'"


@pytest.mark.parametrize("name", ["PopArtIMPALABuilder", "BatchedActor", "NoSuchName"])
def test_public_names_are_loaded_when_asked_for(name: str) -> None:
    from agents import popart_impala

    if name in popart_impala.__all__:
        assert getattr(popart_impala, name).__name__ == name
    else:
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(popart_impala, name)
