"""The flags that define a run, and their resolution into a `RunConfig`.

Defaults are those of the dataclasses, so that each stands in one place. A flag that is not given
takes the resumed run's value, or else the default.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags
from dm_env import specs

from agents.popart_impala.config import LOSS_REDUCTIONS, OPTIMISERS, REWARD_CLIPPINGS, Config
from agents.popart_impala.networks.images import are_boards, are_images
from agents.popart_impala.networks.registry import NETWORKS
from environments import SUITES, AtariOptions, Task, features_spec, parse_level_name
from environments.images import SMALLEST_IMAGE
from environments.tasks import SPELLINGS
from launch_programs.run.run_config import (
    RunConfig,
    default_environments_per_actor,
    default_num_actors,
    flatten,
)
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.presets import PRESETS

FLAGS = flags.FLAGS

_AGENT_HELP = {
    "network": "Network: shallow, deep, self_attention (images); minatar (boards); mlp (anything "
    "else); attentive, progressive (any); by default shallow, minatar or mlp, whichever suits the "
    "observations.",
    "use_lstm": "Puts an LSTM of 256 units between torso and heads.",
    "hidden_size": "Units of the linear layers in front of LSTM or heads; by default 256, of "
    "minatar 128.",
    "task_input": "Gives the linear layers of shallow, deep, minatar and mlp the one-hot task as "
    "well.",
    "subnets": "Attentive networks: number K of sub-networks; by default floor((tasks+2)/4)+1.",
    "use_gap": "Attentive networks: weights from global average pools of the feature maps instead "
    "of the maps.",
    "use_separate_attn_net": "Attentive networks: weights from a sub-network of their own.",
    "unroll_length": "Agent steps in one unroll.",
    "batch_size": "Unrolls in one learner update.",
    "queue_size": "Unrolls that the queue holds before actors wait; by default a quarter of a "
    "batch, since a whole one is being learned from and another is ready.",
    "discounting": "Discount of future rewards, in [0, 1].",
    "baseline_cost": "Weight of the value loss.",
    "entropy_cost": "Weight of the entropy bonus.",
    "reward_clipping": "What the learner does to rewards: none; abs_one: clips to [-1, 1]; "
    "soft_asymmetric: 0.3 min(tanh r, 0) + 5 max(tanh r, 0).",
    "loss_reduction": "Sum or mean of the loss over the steps of a batch; the papers sum.",
    "vtrace_lambda": "V-trace's lambda, in [0, 1]: how far value targets look ahead; the papers: "
    "1, to the unroll's end.",
    "standardise_advantages": "Advantages of each task with mean 0 and deviation 1; otherwise they "
    "are divided by PopArt's sigma.",
    "ratio_clip": "PPO's bound c: a step is learned from while its probability is within 1 +- c of "
    "the one with which it was chosen. The presets have none, as IMPALA.",
    "passes": "How often a batch is learned from; the papers: once.",
    "minibatches": "Random parts of a batch, each with a gradient step of its own; by default "
    "4, or as many less as batch and devices want.",
    "popart": "Normalises values per task by PopArt; --nopopart is plain IMPALA.",
    "popart_step_size": "Step size of PopArt's moving averages, in (0, 1]; a task's first steps "
    "are larger.",
    "popart_scale_min": "Lower bound of PopArt's sigma.",
    "popart_scale_max": "Upper bound of PopArt's sigma.",
    "optimiser": "Adam, or RMSProp as in the papers.",
    "learning_rate": "Initial learning rate; falls linearly to 0 at --total_environment_frames.",
    "total_environment_frames": "Environment frames to train for: agent steps times action repeat.",
    "rmsprop_decay": "Decay of RMSProp's mean square.",
    "rmsprop_epsilon": "RMSProp's epsilon, inside the square root.",
    "gradient_clipping": "Global norm to which gradients are clipped.",
}
_ATARI_HELP = {
    "action_set": "Atari actions: full (all 18) or minimal (only those the game uses); by default "
    "minimal for a game alone, except with --network=progressive, which may get others later.",
    "repeat_action_probability": "Atari sticky actions: probability of repeating the last action.",
    "noop_max": "Atari: a game starts with a random number of no-op frames, 0 to this.",
    "max_frames_per_episode": "Atari: frames after which an episode is cut off (108,000: 30 min).",
    "life_loss": "Atari: the loss of a life ends a training episode for the learner; with "
    "--nolife_loss only the game's end does.",
}
# What learns best, where `AtariOptions` has how a game is played by others: whole.
ATARI_DEFAULTS: dict[str, Any] = {"life_loss": True}
_ENUMS = {
    "reward_clipping": REWARD_CLIPPINGS,
    "loss_reduction": LOSS_REDUCTIONS,
    "optimiser": OPTIMISERS,
    "action_set": ("full", "minimal"),
}
EVALUATION_MAX_FRAMES_HELP = (
    "Environment frames after which an episode of an evaluation is cut off; by default 108,000, "
    "for Atari --max_frames_per_episode."
)
RUN_DEFAULTS: dict[str, Any] = {
    "grow_from": None,
    "num_queues": 0,
    "seed": 1,
    "evaluation_interval": 1_000_000,
    "evaluation_max_frames": None,
    "checkpoint_interval": 60.0,
    "log_interval": 10.0,
    "environment_deadline": 300.0,
    "max_environment_failures": 5,
}


def define_run_flags() -> None:
    """Defines every flag that a `RunConfig` is made from."""
    flags.DEFINE_string(
        "level_name",
        "atari3",
        "What to learn: one or several comma-separated tasks, or a suite: "
        f"{', '.join(SUITES)}. Games of ale-py as pong, Pong, PongNoFrameskip-v4 or ALE/Pong-v5, "
        "sticky actions are another flag; MinAtar's as minatar:breakout, minatar:breakout_x100 "
        f"with rewards of 100. Other environments: {', '.join(SPELLINGS.values())}.",
    )
    flags.DEFINE_enum(
        "preset",
        None,
        list(PRESETS),
        "A paper's settings; other flags override them. They are printed with their source.",
    )
    flags.DEFINE_string(
        "grow_from",
        None,
        "Run directory of a progressive network: keeps its columns, frozen, and adds one that "
        "learns the tasks of --level_name.",
    )
    for field in dataclasses.fields(Config):
        if field.name in _AGENT_HELP:
            by_tasks = field.name in ("network", "hidden_size")
            _define(field, None if by_tasks else field.default, _AGENT_HELP)
    for field in dataclasses.fields(AtariOptions):
        by_tasks = field.name == "action_set"
        default = ATARI_DEFAULTS.get(field.name, field.default)
        _define(field, None if by_tasks else default, _ATARI_HELP)
    flags.DEFINE_integer("num_actors", None, "Actor processes; by default one for each CPU core.")
    flags.DEFINE_integer(
        "environments_per_actor",
        None,
        "Environments that one actor steps together, all actors' a multiple of the tasks; by "
        "default about 16.",
    )
    flags.DEFINE_integer(
        "num_queues",
        RUN_DEFAULTS["num_queues"],
        "Reverb servers in processes of their own, which share the actors' unrolls; 0 for one in "
        "the learner's process (when: docs/performance.md).",
    )
    flags.DEFINE_integer("seed", RUN_DEFAULTS["seed"], "Seed of parameters, games and actions.")
    flags.DEFINE_integer(
        "evaluation_interval",
        RUN_DEFAULTS["evaluation_interval"],
        "Environment frames between the evaluator's rounds of one episode per task; 0 for none.",
    )
    flags.DEFINE_integer(
        "evaluation_max_frames", RUN_DEFAULTS["evaluation_max_frames"], EVALUATION_MAX_FRAMES_HELP
    )
    flags.DEFINE_float(
        "checkpoint_interval", RUN_DEFAULTS["checkpoint_interval"], "Seconds between checkpoints."
    )
    flags.DEFINE_float(
        "log_interval",
        RUN_DEFAULTS["log_interval"],
        "Seconds between rows of learner.csv and between lines of progress.log.",
    )
    flags.DEFINE_float(
        "environment_deadline",
        RUN_DEFAULTS["environment_deadline"],
        "Seconds after which an actor's environments that do not answer are made anew.",
    )
    flags.DEFINE_integer(
        "max_environment_failures",
        RUN_DEFAULTS["max_environment_failures"],
        "Failures of an actor's environments in a row (an exception, no answer, numbers that are "
        "not finite, arrays of another shape) with which the program ends; before, they are made "
        "anew.",
    )


def _define(field: dataclasses.Field[Any], default: Any, helps: dict[str, str]) -> None:
    name, text = field.name, helps[field.name]
    if name in _ENUMS:
        flags.DEFINE_enum(name, default, list(_ENUMS[name]), text)
    elif field.type is bool:
        flags.DEFINE_bool(name, default, text)
    elif field.type in (float, float | None):
        flags.DEFINE_float(name, default, text)
    elif field.type is str:
        flags.DEFINE_string(name, default, text)
    else:
        flags.DEFINE_integer(name, default, text)


def resolve(saved: RunConfig | None) -> RunConfig:
    """The run that the parsed flags ask for.

    A value is the flag's if it is given, else the preset's, else the resumed run's, else, for a
    network that grows, the earlier run's, else the default.

    Args:
      saved: the run to be resumed.

    Raises:
      ValueError: a value is out of range, there is no such run to grow from, or no such
        environment; the message names the flag, the value and what is accepted.
    """
    preset = PRESETS[FLAGS.preset].values if FLAGS.preset else {}
    parent = _parent() if saved is None and FLAGS["grow_from"].present else None
    frozen = 0 if saved is None else sum(saved.agent.frozen_columns)
    earlier = _settings(saved) if parent is None else _inherited(parent)

    def value(name: str, default: Any) -> Any:
        if FLAGS[name].present:
            return FLAGS[name].value
        return preset.get(name, earlier.get(name, default))

    if FLAGS["level_name"].present or saved is None:
        tasks = parse_level_name(FLAGS.level_name)
        before = parent.tasks if parent else saved.tasks[:frozen] if saved else ()
        if before:
            tasks = parse_level_name(",".join([*before, *(task.name for task in tasks)]))
    else:
        tasks = saved.task_list()
    agent = {
        field.name: value(field.name, field.default)
        for field in dataclasses.fields(Config)
        if field.name in _AGENT_HELP
    }
    agent["network"] = value("network", None) or default_network(features_spec(tasks))
    agent["hidden_size"] = value("hidden_size", default_hidden_size(agent["network"]))
    atari = {
        field.name: value(field.name, ATARI_DEFAULTS.get(field.name, field.default))
        for field in dataclasses.fields(AtariOptions)
    }
    atari["action_set"] = value("action_set", default_action_set(tasks, agent["network"]))
    if parent is not None:
        columns = (*parent.agent.frozen_columns, len(parent.learned_tasks))
        frozen = sum(columns)
    else:
        columns = () if saved is None else saved.agent.frozen_columns
    num_actors = value("num_actors", None)
    per_actor = value("environments_per_actor", None)
    return RunConfig(
        tasks=tuple(task.name for task in tasks),
        agent=Config(**agent, frozen_columns=columns, action_repeat=tasks[0].action_repeat),
        atari=AtariOptions(**atari),
        num_actors=default_num_actors() if num_actors is None else num_actors,
        environments_per_actor=(
            default_environments_per_actor(len(tasks) - frozen) if per_actor is None else per_actor
        ),
        **{name: value(name, default) for name, default in RUN_DEFAULTS.items()},
    )


def _settings(config: RunConfig | None) -> dict[str, Any]:
    """Values by their flags' names."""
    return {} if config is None else {k.split(".")[-1]: v for k, v in flatten(config).items()}


def _inherited(parent: RunConfig) -> dict[str, Any]:
    """The settings of an earlier run that its columns must keep to mean the same."""
    names = ["network", "use_lstm", "hidden_size"]
    names += [field.name for field in dataclasses.fields(AtariOptions)]
    return {name: value for name, value in _settings(parent).items() if name in names}


def _parent() -> RunConfig:
    """The run that `--grow_from` names."""
    try:
        parent = RunDirectory(FLAGS.grow_from).read_config()
    except ValueError as error:
        raise ValueError(f"grow_from={FLAGS.grow_from!r}: {error}") from error
    if parent.agent.network != "progressive":
        raise ValueError(
            f"grow_from={FLAGS.grow_from!r}: its network is {parent.agent.network!r}; it must be "
            "'progressive'"
        )
    return parent


def describe_preset(config: RunConfig) -> list[str]:
    """Lines that say what `--preset` stands for, and which of its values a flag overrides."""
    if not FLAGS.preset:
        return []
    preset = PRESETS[FLAGS.preset]
    settings = _settings(config)
    values = [f"{name}={value}" for name, value in preset.values.items()]
    overridden = [
        f"{name}={settings[name]} instead of {value}"
        for name, value in preset.values.items()
        if FLAGS[name].present and settings[name] != value
    ]
    lines = [f"preset {FLAGS.preset}: {preset.source}", "  " + ", ".join(values)]
    if overridden:
        lines.append(f"overridden: {', '.join(overridden)}")
    return lines


def default_network(features: specs.Array) -> str:
    """The network for these features: "shallow" for images, "minatar" for boards, else "mlp".

    Stacks of what is smaller than `shallow` takes are no images for it: grids, for example.
    """
    if are_images(features) and min(features.shape[1:]) >= SMALLEST_IMAGE:
        return "shallow"
    return "minatar" if are_boards(features) else "mlp"


def default_action_set(tasks: Sequence[Task], network: str) -> str:
    """Atari's minimal actions for a game alone, all 18 for what plays several."""
    alone = len(tasks) == 1 and tasks[0].domain == "atari" and network != "progressive"
    return "minimal" if alone else "full"


def default_hidden_size(network: str) -> int:
    """Units of the linear layers of this network, where the user does not say."""
    return NETWORKS[network].hidden_size if network in NETWORKS else Config.hidden_size
