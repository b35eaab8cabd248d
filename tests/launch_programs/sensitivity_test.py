"""The sensitivity report: its statistics, and a grown network at play."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala.sensitivity import Moments, average_fisher_sensitivity, moments
from launch_programs import sensitivity
from launch_programs.run.checkpointing import restore_policy
from launch_programs.sensitivity import measure
from tests.launch_programs.command_lines import refused
from tests.launch_programs.runs import make_run


def test_fisher_from_moments() -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(2.0, 3.0, size=(50, 4, 5, 6)).astype(np.float32)
    g = rng.normal(size=h.shape).astype(np.float32)
    halves = [
        moments(jnp.asarray(h[part]), jnp.asarray(g[part]))
        for part in (slice(0, 20), slice(20, 50))
    ]
    total: Moments = jax.tree.map(np.add, *halves)
    # The derivative with respect to h / std(h) is that with respect to h, times std(h).
    expected = (g * h.std(axis=(0, 1, 2))) ** 2
    np.testing.assert_allclose(total.fisher(), expected.mean(axis=(0, 1, 2)), rtol=1e-4)


def test_average_fisher_sensitivity() -> None:
    shares = average_fisher_sensitivity([np.array([1.0, 0.0, 0.0]), np.array([3.0, 2.0, 0.0])])
    # Feature 0: 1/4 and 3/4; feature 1: 0 and 1; feature 2 matters nowhere.
    np.testing.assert_allclose(shares, [0.125, 0.875])
    assert np.isnan(average_fisher_sensitivity([np.zeros(2), np.zeros(2)])).all()


def test_a_grown_network(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = make_run(tmp_path / "parent", "catch_x1", "--network=progressive")
    grown = make_run(tmp_path / "grown", "catch_x100", f"--grow_from={parent.path}")
    config, policy = grown.read_config(), restore_policy(grown)
    shares = measure(config, policy, task=1, steps=24, seed=1)
    assert shares.shape == (2, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares > 0).all()
    np.testing.assert_array_equal(measure(config, policy, task=1, steps=24, seed=1), shares)
    # The old column's own task does not depend on the new column.
    own = measure(config, policy, task=0, steps=24, seed=1)
    np.testing.assert_array_equal(own, [[1.0, 0.0], [1.0, 0.0]])
    refusal = refused(sensitivity, capsys, f"--logdir={parent.path}")
    assert refusal.endswith("has no earlier columns; give a run that was started with --grow_from")
