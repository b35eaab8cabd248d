"""The settings that shape the network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents.popart_impala.setting import setting


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """A network's settings besides observations, actions and tasks; validated on construction.

    A policy file stores all of them, and a network that grows keeps them.

    Raises:
      ValueError: a field is out of range; the message names the field, its value and the
        accepted values.
    """

    network: str = setting(
        "shallow",
        "Network: shallow, deep, self_attention (images); minatar (boards); mlp (anything "
        "else); attentive, progressive (any); by default shallow, minatar or mlp, whichever "
        "suits the observations.",
        derived=True,
    )
    use_lstm: bool = setting(False, "Puts an LSTM of 256 units between torso and heads.")
    hidden_size: int = setting(
        256,
        "Units of the linear layers before the LSTM or the heads; by default 256, for minatar 128.",
        derived=True,
    )
    normalise_images: bool = setting(
        True,
        "Images of each task with mean 0 and deviation 1, pixel by pixel; the papers do not.",
    )
    task_input: bool = setting(
        False,
        "Gives the linear layers of shallow, deep, minatar and mlp the one-hot task, too.",
    )
    subnets: int | None = setting(
        None,
        "Attentive networks: number K of sub-networks; by default floor((tasks+2)/4)+1.",
    )
    use_gap: bool = setting(
        False,
        "Attentive networks: weights from global average pools of the feature maps instead of "
        "the maps.",
    )
    use_separate_attn_net: bool = setting(
        False,
        "Attentive networks: weights from a sub-network of their own.",
    )
    # Progressive network: number of tasks of each frozen column, oldest first. The remaining tasks
    # belong to the newest column, which learns.
    frozen_columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.require("hidden_size", is_count(self.hidden_size), "a whole number of at least 1")
        self.require(
            "subnets",
            self.subnets is None or is_count(self.subnets),
            "a whole number of at least 1, or left out",
        )
        self.require(
            "frozen_columns",
            isinstance(self.frozen_columns, tuple) and all(map(is_count, self.frozen_columns)),
            "a tuple of whole numbers of at least 1",
        )

    def require(self, field: str, accepted: bool, what: str) -> None:
        """Raises ValueError unless `accepted`: `field` must be `what`."""
        # `accepted` is also false for NaN, since every comparison with NaN is.
        if not accepted:
            raise ValueError(f"{field}={getattr(self, field)!r}: must be {what}")


def settings_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts fields read from JSON to arguments of `NetworkConfig` and its subclasses.

    Raises:
      KeyError: there are no `frozen_columns`.
    """
    # Values for files written before the field existed.
    before = {"normalise_images": False}
    return {**before, **values, "frozen_columns": tuple(values["frozen_columns"])}


def is_count(value: object) -> bool:
    """Whether `value` is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
