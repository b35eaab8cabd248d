"""Networks: one torso per file, one registry, one assembly of torso, core and heads.

To add a network: write a Haiku module that maps (features [B, ...], task int32 [B]) to [B, D], and
add one line to `TORSOS`.
"""

from agents.popart_impala.networks.assembly import (
    VALUE_HEAD,
    NetworkOutput,
    Networks,
    make_networks,
)
from agents.popart_impala.networks.registry import TORSOS, default_torso

__all__ = [
    "TORSOS",
    "VALUE_HEAD",
    "NetworkOutput",
    "Networks",
    "default_torso",
    "make_networks",
]
