"""The flags that define a run, and their resolution into a `RunConfig`.

Defaults are those of the dataclasses, so that each stands in one place. A flag that is not given
takes the resumed run's value, or else the default.
"""

import dataclasses
from typing import Any

from absl import flags

from agents.popart_impala.config import LOSS_REDUCTIONS, REWARD_CLIPPINGS, Config
from environments import AtariOptions, Task, parse_level_name
from launch_programs.run_config import (
    RunConfig,
    default_environments_per_actor,
    default_num_actors,
    flatten,
)

FLAGS = flags.FLAGS

_AGENT_HELP = {
    "network": "Network: shallow (images) or mlp; by default what suits the observations.",
    "use_lstm": "Puts an LSTM of 256 units between torso and heads.",
    "unroll_length": "Agent steps in one unroll.",
    "batch_size": "Unrolls in one learner update.",
    "queue_size": "Unrolls that the queue holds before actors wait; by default one batch.",
    "discounting": "Discount of future rewards, in [0, 1].",
    "baseline_cost": "Weight of the value loss.",
    "entropy_cost": "Weight of the entropy bonus.",
    "reward_clipping": "What the learner does to rewards: none; abs_one: clips to [-1, 1]; "
    "soft_asymmetric: 0.3 min(tanh r, 0) + 5 max(tanh r, 0).",
    "loss_reduction": "Sum or mean of the loss over the steps of a batch; the papers sum.",
    "popart": "Normalises values per task by PopArt; --nopopart is plain IMPALA.",
    "popart_step_size": "Step size of PopArt's moving averages, in (0, 1].",
    "popart_scale_min": "Lower bound of PopArt's sigma.",
    "popart_scale_max": "Upper bound of PopArt's sigma.",
    "learning_rate": "Initial learning rate; falls linearly to 0 at --total_environment_frames.",
    "total_environment_frames": "Environment frames to train for: agent steps times action repeat.",
    "rmsprop_decay": "Decay of RMSProp's mean square.",
    "rmsprop_epsilon": "RMSProp's epsilon, inside the square root.",
    "gradient_clipping": "Global norm to which gradients are clipped.",
}
_ATARI_HELP = {
    "action_set": "Atari actions: full (all 18) or minimal (only those the game uses).",
    "repeat_action_probability": "Atari sticky actions: probability of repeating the last action.",
    "noop_max": "Atari: a game starts with a random number of no-op frames, 0 to this.",
    "max_frames_per_episode": "Atari: frames after which an episode is cut off (108,000: 30 min).",
    "life_loss": "Atari: the loss of a life ends a training episode for the learner.",
}
_ENUMS = {
    "reward_clipping": REWARD_CLIPPINGS,
    "loss_reduction": LOSS_REDUCTIONS,
    "action_set": ("full", "minimal"),
}
_RUN_DEFAULTS: dict[str, Any] = {
    "num_queues": 1,
    "seed": 1,
    "evaluation_interval": 1_000_000,
    "checkpoint_interval": 60.0,
    "log_interval": 10.0,
}


def define_run_flags() -> None:
    """Defines every flag that a `RunConfig` is made from."""
    flags.DEFINE_string(
        "level_name",
        "atari3",
        "What to learn: one or several comma-separated tasks, or a suite: atari3 (Pong, Riverraid, "
        "Seaquest), atari57, toy. Games as pong, Pong, PongNoFrameskip-v4 or ALE/Pong-v5.",
    )
    for field in dataclasses.fields(Config):
        if field.name in _AGENT_HELP:
            _define(field, None if field.name == "network" else field.default, _AGENT_HELP)
    for field in dataclasses.fields(AtariOptions):
        _define(field, field.default, _ATARI_HELP)
    flags.DEFINE_integer("num_actors", None, "Actor processes; by default one for each CPU core.")
    flags.DEFINE_integer(
        "environments_per_actor",
        None,
        "Environments that one actor steps together, all actors' a multiple of the tasks; by "
        "default about 24.",
    )
    flags.DEFINE_integer(
        "num_queues",
        _RUN_DEFAULTS["num_queues"],
        "Reverb servers that share the actors' unrolls: one runs in the learner's process, several "
        "in processes of their own (when: docs/performance.md).",
    )
    flags.DEFINE_integer("seed", _RUN_DEFAULTS["seed"], "Seed of parameters, games and actions.")
    flags.DEFINE_integer(
        "evaluation_interval",
        _RUN_DEFAULTS["evaluation_interval"],
        "Environment frames between the evaluator's rounds of one episode per task; 0 for none.",
    )
    flags.DEFINE_float(
        "checkpoint_interval", _RUN_DEFAULTS["checkpoint_interval"], "Seconds between checkpoints."
    )
    flags.DEFINE_float(
        "log_interval",
        _RUN_DEFAULTS["log_interval"],
        "Seconds between rows of learner.csv and between lines of progress.",
    )


def _define(field: dataclasses.Field[Any], default: Any, helps: dict[str, str]) -> None:
    name, text = field.name, helps[field.name]
    if name in _ENUMS:
        flags.DEFINE_enum(name, default, list(_ENUMS[name]), text)
    elif field.type is bool:
        flags.DEFINE_bool(name, default, text)
    elif field.type is float:
        flags.DEFINE_float(name, default, text)
    elif field.type is str:
        flags.DEFINE_string(name, default, text)
    else:
        flags.DEFINE_integer(name, default, text)


def resolve(saved: RunConfig | None) -> RunConfig:
    """The run that the parsed flags ask for.

    Args:
      saved: the run to be resumed: flags that were not given take its values.

    Raises:
      ValueError: a value is out of range; the message names the flag, the value and what is
        accepted.
    """
    earlier = {} if saved is None else {k.split(".")[-1]: v for k, v in flatten(saved).items()}

    def value(name: str, default: Any) -> Any:
        if FLAGS[name].present:
            return FLAGS[name].value
        return earlier.get(name, default)

    if FLAGS["level_name"].present or saved is None:
        tasks = parse_level_name(FLAGS.level_name)
    else:
        tasks = saved.task_list()
    agent = {
        field.name: value(field.name, field.default)
        for field in dataclasses.fields(Config)
        if field.name in _AGENT_HELP
    }
    if not FLAGS["network"].present and saved is None:
        agent["network"] = default_network(tasks)
    num_actors = value("num_actors", None)
    per_actor = value("environments_per_actor", None)
    return RunConfig(
        tasks=tuple(task.name for task in tasks),
        agent=Config(**agent, action_repeat=tasks[0].action_repeat),
        atari=AtariOptions(
            **{f.name: value(f.name, f.default) for f in dataclasses.fields(AtariOptions)}
        ),
        num_actors=default_num_actors() if num_actors is None else num_actors,
        environments_per_actor=(
            default_environments_per_actor(len(tasks)) if per_actor is None else per_actor
        ),
        **{name: value(name, default) for name, default in _RUN_DEFAULTS.items()},
    )


def default_network(tasks: tuple[Task, ...]) -> str:
    """The network for these tasks: "shallow" for Atari's images, "mlp" for the toys."""
    return "shallow" if tasks[0].domain == "atari" else "mlp"
