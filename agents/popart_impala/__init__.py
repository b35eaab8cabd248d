"""PopArt-IMPALA.

Public names load on first use, so that those of the core (`Config`, `InProcessAgent`,
`load_policy`) are available without Acme, Reverb and TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.popart_impala.acme_actor import Actor
    from agents.popart_impala.acme_learner import PopArtIMPALALearner
    from agents.popart_impala.acting import BatchedActor
    from agents.popart_impala.builder import PopArtIMPALABuilder
    from agents.popart_impala.config import Config
    from agents.popart_impala.in_process import InProcessAgent
    from agents.popart_impala.learning import BatchLearner, NonFiniteUpdates
    from agents.popart_impala.network_config import NetworkConfig
    from agents.popart_impala.policy_file import load_policy

_MODULE_OF = {
    "Actor": "acme_actor",
    "BatchLearner": "learning",
    "BatchedActor": "acting",
    "Config": "config",
    "InProcessAgent": "in_process",
    "NetworkConfig": "network_config",
    "NonFiniteUpdates": "learning",
    "PopArtIMPALABuilder": "builder",
    "PopArtIMPALALearner": "acme_learner",
    "load_policy": "policy_file",
}

__all__ = [
    "Actor",
    "BatchLearner",
    "BatchedActor",
    "Config",
    "InProcessAgent",
    "NetworkConfig",
    "NonFiniteUpdates",
    "PopArtIMPALABuilder",
    "PopArtIMPALALearner",
    "load_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
