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
    # Settings of `Config` that the programs have for this network where the user does not say.
    defaults: Mapping[str, Any] = {}
    # Features come as `observations.Observations`, of which a first layer makes something cheaper
    # than of the array of normalised numbers that the others get.
    takes_observations: bool = False


NETWORKS: dict[str, Entry] = {
    "shallow": Entry(with_torso(ShallowTorso), ("task_input",), takes_observations=True),
    "deep": Entry(with_torso(DeepTorso), ("task_input",), takes_observations=True),
    "minatar": Entry(
        with_torso(MinAtarTorso),
        ("task_input",),
        # With the rate that is best on Atari's screens it learns far less (docs/experiments.md).
        {"hidden_size": HIDDEN_SIZE, "learning_rate": 1e-3},
        takes_observations=True,
    ),
    "mlp": Entry(with_torso(MLPTorso), ("task_input",), takes_observations=True),
    "attentive": Entry(with_torso(AttentiveTorso), _ATTENTION, takes_observations=True),
    "self_attention": Entry(with_torso(self_attention_torso), _ATTENTION, takes_observations=True),
    "progressive": Entry(ProgressiveNetwork, ("frozen_columns",), takes_observations=True),
}


def default_network(features: Any) -> str:
    """The network for these features: "shallow" for images, "minatar" for boards, else "mlp".

    Stacks of what is smaller than `shallow` takes are no images for it: grids, for example.

    Args:
      features: spec of one environment's features.
    """
    if are_images(features) and min(features.shape[1:]) >= SMALLEST_IMAGE:
        return "shallow"
    return "minatar" if are_boards(features) else "mlp"
