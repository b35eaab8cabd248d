"""Policy files: a loaded policy acts like the saved one, and everything else is refused."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala.acting import make_policy
from agents.popart_impala.config import Config
from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks import Networks
from agents.popart_impala.policy_file import LoadedPolicy, PolicyInfo, load_policy, save_policy
from agents.popart_impala.popart import Scale
from agents.popart_impala.types import AgentInput, Params
from tests.agents.popart_impala.parameters import random_params
from tests.missing_packages import ONLY_JAX_AND_HAIKU

ROOT = pathlib.Path(__file__).parents[3]
TASKS = ("first", "second", "third")
SCALE = Scale(mu=jnp.array([0.5, -30.0, 2e5]), sigma=jnp.array([1.0, 20.0, 3e4]))


def make_info(
    config: NetworkConfig, *, images: bool, environment: dict[str, Any] | None = None
) -> Any:
    return PolicyInfo(
        config=config,
        observation_shape=(4, 36, 44) if images else (7,),
        observation_dtype=np.dtype(np.uint8 if images else np.float32),
        stacked=images,
        num_actions=5,
        tasks=TASKS,
        learner_steps=12,
        frames=3_000_000_000,
        environment=environment or {},
    )


def save(path: pathlib.Path, info: PolicyInfo) -> tuple[Networks, Params]:
    """Saves random parameters and returns them with their network."""
    networks = info.make_networks()
    params = random_params(networks, seed=7)
    save_policy(path, info, params, SCALE)
    return networks, params


def logits_of(policy: LoadedPolicy) -> np.ndarray:
    assert policy.logits is not None
    return policy.logits


def observations(info: PolicyInfo, length: int) -> np.ndarray:
    random = np.random.default_rng(3)
    shape = (length, *info.observation_shape)
    if info.observation_dtype == np.uint8:
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def lstm_path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("policy") / "lstm.policy.npz"
    save(path, LSTM)
    return path


LSTM = make_info(NetworkConfig(network="mlp", use_lstm=True, hidden_size=8), images=False)
CASES = {
    "shallow": make_info(NetworkConfig(hidden_size=16), images=True),
    "mlp-lstm": LSTM,
    "attentive": make_info(
        NetworkConfig(network="attentive", hidden_size=8, subnets=3), images=False
    ),
    "progressive-lstm": make_info(
        NetworkConfig(network="progressive", hidden_size=8, use_lstm=True, frozen_columns=(1,)),
        images=False,
    ),
    "task-input": make_info(
        NetworkConfig(network="mlp", hidden_size=8, task_input=True), images=False
    ),
}


@pytest.mark.parametrize(
    ("name", "greedy"), [*((name, False) for name in CASES), ("mlp-lstm", True)]
)
def test_it_acts_as_the_policy_of_training(name: str, greedy: bool, tmp_path: pathlib.Path) -> None:
    info = CASES[name]
    networks, params = save(tmp_path / "p", info)
    loaded = load_policy(tmp_path / "p", greedy=greedy, seed=11)
    trained = make_policy(networks, greedy=greedy)
    key, state = jax.random.PRNGKey(11), networks.initial_state(1)
    value_of = jax.jit(networks.step)
    for episode, task in enumerate([2, 0]):
        loaded.reset()
        previous = (0, 0.0, True)
        for t, observation in enumerate(observations(info, 4)):
            inputs = AgentInput(
                features=observation[None],
                task=np.array([task], np.int32),
                previous_action=np.array([previous[0]], np.int32),
                previous_reward=np.array([previous[1]], np.float32),
                first=np.array([previous[2]]),
            )
            output = trained(params, key, inputs, state)
            values = value_of(params, inputs, state)[0].normalised_values[0]
            # The reward before an episode's first step is the previous episode's and is not used.
            reward = previous[1] if t else 9.0
            action = loaded(observation, TASKS[task] if episode else task, reward)
            np.testing.assert_allclose(logits_of(loaded), output.logits[0], rtol=0, atol=1e-6)
            assert action == int(output.action[0])
            assert isinstance(action, int)
            assert loaded.value == pytest.approx(
                float(SCALE.sigma[task] * values[task] + SCALE.mu[task]), rel=1e-5
            )
            key, state = output.key, output.state
            previous = (action, 0.3 * t - 0.5, False)


def test_what_the_file_says(tmp_path: pathlib.Path) -> None:
    environment = {"action_set": "full", "noop_max": 30}
    info = make_info(NetworkConfig(hidden_size=16), images=True, environment=environment)
    save(tmp_path / "p", info)
    loaded = load_policy(tmp_path / "p")
    assert loaded.info == info
    assert (loaded.tasks, loaded.num_actions) == (TASKS, 5)
    assert loaded.logits is None
    assert loaded.value is None
    # Training settings are not in the file.
    other = dataclasses.replace(info, config=Config(hidden_size=16, learning_rate=1.0))
    save(tmp_path / "q", other)
    assert load_policy(tmp_path / "q").info == info


def test_half_precision(tmp_path: pathlib.Path) -> None:
    info = CASES["shallow"]
    _, params = save(tmp_path / "single", info)
    save_policy(tmp_path / "half", info, params, SCALE, float16=True)
    with np.load(tmp_path / "single") as single, np.load(tmp_path / "half") as half:
        for name in single.files:
            weight = name.startswith("params/") and name.endswith("/w")
            assert half[name].dtype == (np.float16 if weight else single[name].dtype)
            if name != "about":
                tolerance = {"rtol": 1e-3, "atol": 1e-7} if weight else {"rtol": 0}
                np.testing.assert_allclose(half[name], single[name], **tolerance)
    exact, rounded = load_policy(tmp_path / "single"), load_policy(tmp_path / "half")
    assert rounded.info == exact.info
    for observation in observations(info, 4):
        exact(observation, "first", 0.0)
        rounded(observation, "first", 0.0)
        logits = logits_of(rounded)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, logits_of(exact), rtol=0, atol=0.02)
        assert np.any(logits != logits_of(exact))

    params["value_head"]["w"][0, 0] = -1e5
    with pytest.raises(ValueError, match=r"float16=True: params/value_head/w has 100000, more"):
        save_policy(tmp_path / "not", info, params, SCALE, float16=True)
    assert not (tmp_path / "not").exists()


def test_reset_starts_an_episode(lstm_path: pathlib.Path) -> None:
    def episode(policy: LoadedPolicy, rewards: list[float]) -> list[np.ndarray]:
        policy.reset()
        logits = []
        for observation, reward in zip(observations(LSTM, 4), rewards, strict=True):
            policy(observation, "second", reward)
            logits.append(logits_of(policy))
        return logits

    policy = load_policy(lstm_path, greedy=True)
    first = episode(policy, [0.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(episode(policy, [0.0, 0.0, 0.0, 0.0]), first)
    # The policy sees rewards and, without a reset, the past.
    assert not np.array_equal(episode(policy, [0.0, 0.0, 1.0, 0.0])[2], first[2])
    policy(observations(LSTM, 1)[0], "second")
    assert not np.array_equal(logits_of(policy), first[0])


def test_seeds(lstm_path: pathlib.Path) -> None:
    def actions(seed: int) -> list[int]:
        policy = load_policy(lstm_path, seed=seed)
        return [policy(observation, 0) for observation in observations(LSTM, 20)]

    assert actions(1) == actions(1)
    assert actions(1) != actions(2)


def test_observations_tasks_and_rewards_that_are_refused(
    lstm_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    policy = load_policy(lstm_path, greedy=True)
    observation = observations(LSTM, 1)[0]
    policy(observation, 0)
    logits = logits_of(policy)
    for bad, message in (
        (
            observation[None],
            r"float32 of shape \(1, 7\); it must be an array, float32 of .* \(7,\)",
        ),
        (observation.astype(np.float64), r"float64 of shape \(7,\); it must be an array, float32"),
        (observation.tolist(), r"^observation is a list; it must be an array, float32 of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            policy(bad, 0)
    with pytest.raises(ValueError, match="^task='fourth': must be one of first, second, third$"):
        policy(observation, "fourth")
    for index in (-1, 3):
        with pytest.raises(ValueError, match=rf"^task={index}: must be in \[0, 3\), which are fir"):
            policy(observation, index)
    with pytest.raises(ValueError, match="^reward=nan: must be finite"):
        policy(observation, 0, float("nan"))
    # The refused calls have left no trace.
    policy.reset()
    policy(observation, np.int32(0))
    np.testing.assert_array_equal(logits_of(policy), logits)

    save(tmp_path / "images", CASES["shallow"])
    with pytest.raises(ValueError, match="uint8 of shape .4, 36, 44.: the last 4 frames, oldest f"):
        load_policy(tmp_path / "images")(np.zeros((36, 44), np.uint8), 0)


def test_a_file_is_not_overwritten(lstm_path: pathlib.Path) -> None:
    before = lstm_path.read_bytes()
    with pytest.raises(FileExistsError):
        save(lstm_path, CASES["task-input"])
    assert lstm_path.read_bytes() == before


def test_parameters_of_another_network_are_not_saved(tmp_path: pathlib.Path) -> None:
    _, params = save(tmp_path / "p", LSTM)
    wider = dataclasses.replace(
        LSTM, config=NetworkConfig(network="mlp", use_lstm=True, hidden_size=9)
    )
    with pytest.raises(ValueError, match=r"params/.* is float32 of shape .*; the network's is"):
        save_policy(tmp_path / "q", wider, params, SCALE)
    without = dataclasses.replace(LSTM, config=NetworkConfig(network="mlp", hidden_size=8))
    with pytest.raises(ValueError, match="the network and the arrays differ in params/lstm/b, "):
        save_policy(tmp_path / "q", without, params, SCALE)
    with pytest.raises(ValueError, match=r"popart/mu is float32 of shape \(2,\)"):
        save_policy(tmp_path / "q", LSTM, params, SCALE._replace(mu=SCALE.mu[:2]))
    assert not (tmp_path / "q").exists()


def test_files_that_are_none(lstm_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    whole = lstm_path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path = tmp_path / "file"
    for content in (b"", b"text\n", whole[: len(whole) // 2], whole[:-30], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"/file is not a policy file, or is damaged: "):
            load_policy(path)
    for arrays in ({"x": np.zeros(3)}, {"about": np.array("{}")}, {"about": np.array([1, None])}):
        with path.open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(ValueError, match=r"/file is not a policy file, or is damaged: "):
            load_policy(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"/file is not a policy file, .* it is no archive"):
        load_policy(path)
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "is of version 3 of policy files; this program reads up to version 2"),
        ({"format": "other"}, "is not a policy file, or is damaged: ValueError: its format is"),
        (
            {"num_actions": 4},
            r"params/lstm/w is float32 of shape \(270, 1024\); the network's is .* \(269, 1024\)",
        ),
        ({"tasks": None}, "is not a policy file, or is damaged: TypeError"),
        ({"network": {}}, "is not a policy file, or is damaged: KeyError: 'frozen_columns'"),
    ],
)
def test_what_a_file_may_say(
    change: dict[str, Any], message: str, lstm_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with np.load(lstm_path) as archive:
        arrays = dict(archive)
    about = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps({**about, **change}))
    with (tmp_path / "file").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match=message):
        load_policy(tmp_path / "file")


def test_jax_and_haiku_are_enough(lstm_path: pathlib.Path) -> None:
    program = (
        ONLY_JAX_AND_HAIKU + "import numpy\n"
        "from agents.popart_impala import load_policy\n"
        "policy = load_policy(sys.argv[1])\n"
        "print(policy(numpy.zeros(7, numpy.float32), 'first') in range(5))\n"
        "try:\n"
        "    import chex\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, lstm_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    # The packages really could not be imported.
    assert process.stdout.splitlines() == ["True", "No module named 'chex'"]
