"""The flags that define a run, and their resolution into a `RunConfig`.

Defaults come from the dataclasses, so that each is defined in one place. A flag that is not given
takes the resumed run's value, or else the default.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from agents.popart_impala.config import Config
from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks import NETWORKS, default_network
from agents.popart_impala.setting import defaults, settings
from environments import SUITES, AtariOptions, Task, features_spec, parse_level_name
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

# Defaults that learn best; those of `AtariOptions` play whole games, as others do.
ATARI_DEFAULTS: dict[str, Any] = {"life_loss": True}

# Options that the user cannot change when a trained policy is played.
_FIXED_OPTIONS = ("action_set", "life_loss")


def define_run_flags() -> None:
    """Defines all flags that determine a `RunConfig`."""
    flags.DEFINE_string(
        "level_name",
        "atari3",
        "What to learn: one or several comma-separated tasks, or a suite: "
        f"{', '.join(SUITES)}. Games of ale-py as pong, Pong, PongNoFrameskip-v4 or ALE/Pong-v5 "
        "(sticky actions have their own flag); MinAtar's as minatar:breakout, or as "
        "minatar:breakout_x100 with rewards of 100; Procgen's as procgen:coinrun, ViZDoom's as "
        f"doom:basic. Other environments: {', '.join(SPELLINGS.values())}.",
    )
    flags.DEFINE_enum(
        "preset",
        None,
        list(PRESETS),
        "A paper's settings; other flags override them. They are printed with their source.",
    )
    for field in [*settings(Config), *settings(AtariOptions), *settings(RunConfig)]:
        _define(field)


def define_option_flags() -> None:
    """Defines flags for the environment options that a trained policy can be tried with.

    The action set is not among them, since the policy knows no other, nor is life loss, since
    scores are of whole games.
    """
    for field in _free_options():
        _define(field, without_default="by default the run's")


def given_options() -> dict[str, Any]:
    """Values, by name, of those of `define_option_flags`' flags that are given."""
    names = [field.name for field in _free_options()]
    return {name: FLAGS[name].value for name in names if FLAGS[name].present}


def _free_options() -> list[dataclasses.Field[Any]]:
    return [field for field in settings(AtariOptions) if field.name not in _FIXED_OPTIONS]


def _define(field: dataclasses.Field[Any], without_default: str = "") -> None:
    """Defines a setting's flag.

    Args:
      field: the setting.
      without_default: replaces the setting's default: what applies if the flag is not given, as
        text for the help.

    Raises:
      TypeError: no kind of flag has values of the field's type.
    """
    name, text, choices = field.name, field.metadata["help"], field.metadata.get("choices")
    default = ATARI_DEFAULTS.get(name, field.default)
    if field.metadata.get("derived") or default is dataclasses.MISSING or without_default:
        default = None
    if without_default:
        text = f"{text.removesuffix('.')}; {without_default}."
    if choices is not None:
        flags.DEFINE_enum(name, default, list(choices), text)
    elif field.type is bool:
        flags.DEFINE_bool(name, default, text)
    elif field.type in (float, float | None):
        flags.DEFINE_float(name, default, text)
    elif field.type in (str, str | None):
        flags.DEFINE_string(name, default, text)
    elif field.type in (int, int | None):
        flags.DEFINE_integer(name, default, text)
    else:
        raise TypeError(f"setting {name}: no flag has values of {field.type}")


def resolve(saved: RunConfig | None) -> RunConfig:
    """The run that the parsed flags ask for.

    A value is the flag's if given, else the preset's, else the resumed run's (or, for a network
    that grows, the earlier run's), else the default.

    Args:
      saved: the run to resume; None for a new run.

    Raises:
      ValueError: a value is out of range, or the run to grow from or an environment does not exist;
        the message names the flag, the value and what is accepted.
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
    agent = {name: value(name, default) for name, default in defaults(Config).items()}
    agent["network"] = value("network", None) or default_network(features_spec(tasks))
    for name, default in default_settings(agent["network"]).items():
        agent[name] = value(name, default)
    atari = {
        name: value(name, ATARI_DEFAULTS.get(name, default))
        for name, default in defaults(AtariOptions).items()
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
        **{name: value(name, default) for name, default in defaults(RunConfig).items()},
    )


def _settings(config: RunConfig | None) -> dict[str, Any]:
    """A run's values by the names of their flags."""
    return {} if config is None else {k.split(".")[-1]: v for k, v in flatten(config).items()}


def _inherited(parent: RunConfig) -> dict[str, Any]:
    """The settings of an earlier run that its columns depend on, and so must not change."""
    names = [*defaults(NetworkConfig), *defaults(AtariOptions)]
    return {name: value for name, value in _settings(parent).items() if name in names}


def _parent() -> RunConfig:
    """The run named by `--grow_from`."""
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
    """Lines that list the settings of `--preset`, and those that a flag overrides."""
    if not FLAGS.preset:
        return []
    preset = PRESETS[FLAGS.preset]
    of_run = _settings(config)
    values = [f"{name}={value}" for name, value in preset.values.items()]
    overridden = [
        f"{name}={of_run[name]} instead of {value}"
        for name, value in preset.values.items()
        if FLAGS[name].present and of_run[name] != value
    ]
    lines = [f"preset {FLAGS.preset}: {preset.source}", "  " + ", ".join(values)]
    if overridden:
        lines.append(f"overridden: {', '.join(overridden)}")
    return lines


def default_action_set(tasks: Sequence[Task], network: str) -> str:
    """Atari's minimal action set for a single game, all 18 for a network that plays several."""
    alone = len(tasks) == 1 and tasks[0].domain == "atari" and network != "progressive"
    return "minimal" if alone else "full"


def default_settings(network: str) -> Mapping[str, Any]:
    """The defaults of the agent's settings that differ for this network."""
    return NETWORKS[network].defaults if network in NETWORKS else {}
