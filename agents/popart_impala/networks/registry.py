"""The networks that `--network` chooses from."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.attentive import AttentiveTorso
from agents.popart_impala.networks.deep import DeepTorso
from agents.popart_impala.networks.images import are_boards, are_images
from agents.popart_impala.networks.minatar import HIDDEN_SIZE, MinAtarTorso
from agents.popart_impala.networks.mlp import MLPTorso
from agents.popart_impala.networks.progressive import ProgressiveNetwork
from agents.popart_impala.networks.self_attention import self_attention_torso
from agents.popart_impala.networks.shallow import SMALLEST_IMAGE, ShallowTorso
from agents.popart_impala.networks.single import with_torso
from agents.popart_impala.networks.types import Network

_ATTENTION = ("subnets", "use_gap", "use_separate_attn_net")


class Entry(NamedTuple):
    """A network of the registry."""

    # (config, num_actions, num_tasks) -> network
    make: Callable[[NetworkConfig, int, int], Network]
    options: tuple[str, ...] = ()  # fields of NetworkConfig that not every network has
    # Values of `Config` that the programs use for this network unless the user sets others.
    defaults: Mapping[str, Any] = {}
    # Features come as `observations.Observations`, which a first layer can process more cheaply
    # than the array of normalised numbers that other networks get.
    takes_observations: bool = False


NETWORKS: dict[str, Entry] = {
    "shallow": Entry(with_torso(ShallowTorso), ("task_input",), takes_observations=True),
    "deep": Entry(with_torso(DeepTorso), ("task_input",), takes_observations=True),
    "minatar": Entry(
        with_torso(MinAtarTorso),
        ("task_input",),
        {"hidden_size": HIDDEN_SIZE},
        takes_observations=True,
    ),
    "mlp": Entry(with_torso(MLPTorso), ("task_input",), takes_observations=True),
    "attentive": Entry(with_torso(AttentiveTorso), _ATTENTION, takes_observations=True),
    "self_attention": Entry(with_torso(self_attention_torso), _ATTENTION, takes_observations=True),
    "progressive": Entry(ProgressiveNetwork, ("frozen_columns",), takes_observations=True),
}


def default_network(features: Any) -> str:
    """Names the network for these features: "shallow" for images, "minatar" for boards, else "mlp".

    Stacks of frames smaller than `shallow` takes, grids for example, do not count as images.

    Args:
      features: spec of one environment's features.
    """
    if are_images(features) and min(features.shape[1:]) >= SMALLEST_IMAGE:
        return "shallow"
    return "minatar" if are_boards(features) else "mlp"
