"""Networks: one per file, one registry, one way to make them.

To add a network, write a Haiku module from (features [B, ...], task int32 [B]) to a `TorsoOutput`
(or a whole `Network`, if it does not have one torso for all tasks), and add one line to `NETWORKS`.
"""

from agents.popart_impala.networks.assembly import Networks, make_networks
from agents.popart_impala.networks.registry import NETWORKS, default_network
from agents.popart_impala.networks.types import VALUE_HEAD, Network, NetworkOutput, TorsoOutput

__all__ = [
    "NETWORKS",
    "VALUE_HEAD",
    "Network",
    "NetworkOutput",
    "Networks",
    "TorsoOutput",
    "default_network",
    "make_networks",
]
