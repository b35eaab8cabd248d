"""A trained policy in one file, which JAX and Haiku alone can load and play.

This module does not import Acme, Reverb, Launchpad, TensorFlow or the environments.

The file is a NumPy archive (`.npz`, a zip file with a checksum for each member) without pickles, so
loading a file from elsewhere runs no code in it. By convention its name ends in `.policy.npz`.
Members:

    about                   a JSON object as a string: everything but the arrays, see below
    popart/mu               float32 [num_tasks], PopArt's mean of each task's values
    popart/sigma            float32 [num_tasks], their scale
    params/MODULE/NAME      a parameter, under its module's Haiku name; weights (NAME w) may be
                            float16, and are float32 when loaded

`about` has

    format, version         "popart-impala policy", 2; version 1 had no float16
    network                 the fields of `Config` that shape the network
    features                shape and dtype of one observation; whether it is a stack of frames
    num_actions, tasks      the actions are 0 ... num_actions - 1; the tasks' names, by index
    learner_steps, frames   how long it was trained: updates, environment frames
    environment             options of the environments to play in, {} for none
    versions                the JAX, Haiku and NumPy versions that wrote the file; for information

It holds neither the optimiser's state nor the training settings, so training cannot resume from it.
"""

import dataclasses
import io
import json
import math
import operator
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import haiku as hk
import jax
import numpy as np

from agents.popart_impala.choosing import choose_actions
from agents.popart_impala.network_config import NetworkConfig, settings_from_json
from agents.popart_impala.networks import Networks, make_networks
from agents.popart_impala.types import AgentInput, Array, Params, RecurrentState, agent_input

if TYPE_CHECKING:
    from agents.popart_impala.popart import Scale  # which imports Chex

_FORMAT = "popart-impala policy"
_VERSION = 2

# What NumPy, zip and JSON raise for a file that is not a policy file or is damaged.
_UNREADABLE = (
    EOFError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Features(NamedTuple):
    """A description of one environment's features, as `make_networks` takes it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    stacked: bool


@dataclasses.dataclass(frozen=True)
class PolicyInfo:
    """What a policy file holds besides its arrays."""

    config: NetworkConfig
    observation_shape: tuple[int, ...]  # of one observation, without a batch axis
    observation_dtype: np.dtype
    # Observations are stacks [S, ...] of the last S frames, newest last; frames from before the
    # episode are zero.
    stacked: bool
    num_actions: int
    tasks: tuple[str, ...]  # names; their order gives the task indices
    learner_steps: int
    frames: int  # environment frames that it was trained on
    # Options of the environments to play in, as in the JSON: for Atari the fields of
    # `environments.AtariOptions`; {} for none.
    environment: Mapping[str, Any]

    def make_networks(self) -> Networks:
        """Builds the network as pure functions.

        Raises:
          ValueError: there is no such network.
        """
        return make_networks(
            self.config,
            features_spec=_Features(self.observation_shape, self.observation_dtype, self.stacked),
            num_actions=self.num_actions,
            num_tasks=len(self.tasks),
        )


def save_policy(
    path: str | os.PathLike[str],
    info: PolicyInfo,
    params: Params,
    scale: "Scale",
    *,
    float16: bool = False,
) -> None:
    """Writes a policy file.

    Args:
      path: of the file; by convention it ends in `.policy.npz`.
      info: describes the policy.
      params: of the network that `info` describes.
      scale: PopArt's mu and sigma of the policy's values, as `popart.scale_of` returns them.
      float16: writes weights in half precision, which halves the size of the file.

    Raises:
      ValueError: parameters or scale do not match the network that `info` describes, or a weight is
        too large for float16.
      FileExistsError: the file exists; it is left unchanged.
      OSError: the file cannot be written.
    """
    arrays = {
        "popart/mu": np.asarray(scale.mu),
        "popart/sigma": np.asarray(scale.sigma),
        **{
            f"params/{m}/{name}": np.asarray(x)
            for m, name, x in hk.data_structures.traverse(params)
        },
    }
    _check_arrays(arrays, _expected_arrays(info))
    if float16:
        arrays = {name: _half(name, array) for name, array in arrays.items()}
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "network": {
            field.name: getattr(info.config, field.name)
            for field in dataclasses.fields(NetworkConfig)
        },
        "features": {
            "shape": list(info.observation_shape),
            "dtype": info.observation_dtype.name,
            "stacked": info.stacked,
        },
        "num_actions": info.num_actions,
        "tasks": list(info.tasks),
        "learner_steps": info.learner_steps,
        "frames": info.frames,
        "environment": dict(info.environment),
        "versions": {
            "jax": jax.__version__,
            "dm-haiku": hk.__version__,
            "numpy": np.__version__,
        },
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, about=np.array(json.dumps(about)), **arrays)
    with open(path, "xb") as file:
        try:
            file.write(archive.getbuffer())
            file.flush()
        except OSError:  # a full disk, for example: half a file is useless
            pathlib.Path(path).unlink()
            raise


def load_policy(
    path: str | os.PathLike[str], *, greedy: bool = False, seed: int = 0
) -> "LoadedPolicy":
    """Loads a policy file.

    Args:
      path: of a file written by `save_policy` or `launch_programs.export`.
      greedy: takes the likeliest actions instead of sampling.
      seed: for sampling.

    Returns:
      The policy, a function from observation and task to action.

    Raises:
      ValueError: the file is not a policy file, is damaged, or is from a newer version of this
        project.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is no archive")
            about = json.loads(str(archive["about"]))
            if about["format"] != _FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            version = int(about["version"])
            if version <= _VERSION:
                info = _info(about)
                expected = _expected_arrays(info)
                arrays = {k: _single(k, archive[k]) for k in archive.files if k != "about"}
                _check_arrays(arrays, expected)
        except _UNREADABLE as error:
            raise ValueError(
                f"{os.fspath(path)} is not a policy file, or is damaged: "
                f"{type(error).__name__}: {error}"
            ) from error
    if version > _VERSION:
        raise ValueError(
            f"{os.fspath(path)} is of version {version} of policy files; this program reads up to "
            f"version {_VERSION}: use the newer one that has written it"
        )
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        if key.startswith("params/"):
            module, _, name = key.removeprefix("params/").rpartition("/")
            params.setdefault(module, {})[name] = array
    return LoadedPolicy(
        info, params, arrays["popart/mu"], arrays["popart/sigma"], greedy=greedy, seed=seed
    )


class LoadedPolicy:
    """A policy that plays one environment: `action = policy(observation, task, reward)`.

    It keeps what the network needs from step to step: the recurrent state and the last action. So
    pass it every observation of an episode once, in order, and call `reset` between episodes.

    Attributes:
      info: the file's description of the policy.
      tasks: names of the tasks; their order gives the indices.
      num_actions: actions are 0 ... num_actions - 1.
      logits: float32 [num_actions], of the policy at the last step; None before the first.
      value: the discounted return expected at the last step, in the task's own rewards as the
        learner saw them (clipped, if it clipped them); None before the first.
    """

    def __init__(
        self,
        info: PolicyInfo,
        params: Params,
        mu: np.ndarray,
        sigma: np.ndarray,
        *,
        greedy: bool,
        seed: int,
    ):
        """Makes the policy, at the start of an episode; see `load_policy`.

        Args:
          info: describes the policy.
          params: of its network.
          mu: float32 [num_tasks], PopArt's mean.
          sigma: float32 [num_tasks], PopArt's scale.
          greedy: takes the likeliest actions instead of sampling.
          seed: for sampling.
        """
        self.info = info
        self.tasks = info.tasks
        self.num_actions = info.num_actions
        self.logits: np.ndarray | None = None
        self.value: float | None = None
        networks = info.make_networks()
        self._params = jax.device_put(params)
        self._mu = mu
        self._sigma = sigma
        self._key = jax.random.PRNGKey(seed)
        self._initial_state = networks.initial_state(1)
        self.reset()

        # Not `acting.make_policy`: `acting` imports Chex and the environments.
        @jax.jit
        def step(params: Params, key: jax.Array, inputs: AgentInput, state: RecurrentState) -> Any:
            output, state = networks.step(params, inputs, state)
            action, key = choose_actions(key, output.logits, greedy=greedy)
            return action, output.logits, output.normalised_values, state, key

        self._step = step

    def reset(self) -> None:
        """Starts an episode. Random numbers continue, so the next episode is a different one."""
        self._state = self._initial_state
        self._previous_action: int | None = None

    def __call__(
        self, observation: Array, task: str | SupportsIndex, reward: float | None = None
    ) -> int:
        """Chooses an action.

        Args:
          observation: with the shape and dtype in `info`; for Atari uint8 [4, 84, 84], the last
            four frames, oldest first, with zeros for frames from before the episode.
          task: name or index of the task being played.
          reward: the last action's, unclipped, as the network was given in training; None means 0.
            Ignored in an episode's first step.

        Returns:
          The action, in [0, num_actions).

        Raises:
          ValueError: the observation has the wrong shape or dtype, the task is unknown, or the
            reward is not finite. The policy's state is unchanged.
        """
        features = self._checked_observation(observation)
        index = self._task_index(task)
        first = self._previous_action is None
        previous_reward = 0.0 if first or reward is None else float(reward)
        if not math.isfinite(previous_reward):
            raise ValueError(f"reward={reward!r}: must be finite")
        inputs = agent_input(
            features[None],
            np.array([index]),
            np.array([self._previous_action or 0]),
            np.array([previous_reward]),
            np.array([first]),
        )
        output, logits, normalised_values, self._state, self._key = self._step(
            self._params, self._key, inputs, self._state
        )
        action = int(output[0])
        self._previous_action = action
        self.logits = np.asarray(logits)[0]
        normalised_value = np.asarray(normalised_values)[0, index]
        self.value = float(self._sigma[index] * normalised_value + self._mu[index])
        return action

    def _checked_observation(self, observation: Array) -> np.ndarray:
        info = self.info
        if isinstance(observation, (np.ndarray, jax.Array)):
            if (
                observation.shape == info.observation_shape
                and observation.dtype == info.observation_dtype
            ):
                return np.asarray(observation)
            given = f"{observation.dtype} of shape {observation.shape}"
        else:
            given = f"a {type(observation).__name__}"
        stack = (
            f": the last {info.observation_shape[0]} frames, oldest first, zeros for those from "
            "before the episode"
            if info.stacked
            else ""
        )
        raise ValueError(
            f"observation is {given}; it must be an array, {info.observation_dtype} of shape "
            f"{info.observation_shape}{stack}"
        )

    def _task_index(self, task: str | SupportsIndex) -> int:
        if isinstance(task, str):
            if task not in self.tasks:
                raise ValueError(f"task={task!r}: must be one of {', '.join(self.tasks)}")
            return self.tasks.index(task)
        index = operator.index(task)
        if not 0 <= index < len(self.tasks):
            raise ValueError(
                f"task={index}: must be in [0, {len(self.tasks)}), which are "
                f"{', '.join(self.tasks)}"
            )
        return index


def _info(about: Mapping[str, Any]) -> PolicyInfo:
    """Reads the file's JSON."""
    network, features = about["network"], about["features"]
    return PolicyInfo(
        config=NetworkConfig(**settings_from_json(network)),
        observation_shape=tuple(features["shape"]),
        observation_dtype=np.dtype(features["dtype"]),
        stacked=features["stacked"],
        num_actions=about["num_actions"],
        tasks=tuple(about["tasks"]),
        learner_steps=about["learner_steps"],
        frames=about["frames"],
        environment=about["environment"],
    )


def _expected_arrays(info: PolicyInfo) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a policy file's arrays, by name."""
    params = jax.eval_shape(info.make_networks().init, jax.random.PRNGKey(0))
    statistic = jax.ShapeDtypeStruct((len(info.tasks),), np.float32)
    return {
        "popart/mu": statistic,
        "popart/sigma": statistic,
        **{f"params/{m}/{name}": x for m, name, x in hk.data_structures.traverse(params)},
    }


def _is_weight(name: str) -> bool:
    """Whether an array may be float16: not biases, and not statistics, whose range is wider."""
    return name.startswith("params/") and name.endswith("/w")


def _half(name: str, array: np.ndarray) -> np.ndarray:
    """The array as stored in a half-precision file."""
    if not _is_weight(name):
        return array
    largest = np.max(np.abs(array), initial=0.0)
    if largest > np.finfo(np.float16).max:
        raise ValueError(f"float16=True: {name} has {largest:g}, more than float16 holds")
    return array.astype(np.float16)


def _single(name: str, array: np.ndarray) -> np.ndarray:
    """The array as the network takes it."""
    half = _is_weight(name) and array.dtype == np.float16
    return array.astype(np.float32) if half else array


def _check_arrays(arrays: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises ValueError unless the arrays have these names, shapes and dtypes."""
    others = sorted(arrays.keys() ^ expected.keys())
    if others:
        raise ValueError(f"the network and the arrays differ in {', '.join(others)}")
    for name, like in expected.items():
        array = np.asarray(arrays[name])
        if array.shape != like.shape or array.dtype != like.dtype:
            raise ValueError(
                f"{name} is {array.dtype} of shape {array.shape}; the network's is {like.dtype} of "
                f"shape {like.shape}"
            )
