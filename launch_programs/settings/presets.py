"""`--preset`: the papers' settings under a name.

A setting that a paper tunes during training (learning rate and entropy cost, by population-based
training) has no single value; the presets use that of the Atari agents of arXiv 1802.01561.
"""

from typing import Any, NamedTuple


class Preset(NamedTuple):
    """Values of flags, and their source."""

    source: str
    values: dict[str, Any]  # by the flag's name


# Settings shared by the Atari agents of arXiv 1802.01561, which see four stacked frames and have no
# LSTM.
_IMPALA = {
    "use_lstm": False,
    "normalise_images": False,
    "popart": False,
    "reward_clipping": "abs_one",
    "action_set": "full",
    "life_loss": True,
    "unroll_length": 20,
    "batch_size": 32,
    "discounting": 0.99,
    "baseline_cost": 0.5,
    "entropy_cost": 0.01,
    "loss_reduction": "sum",
    "vtrace_lambda": 1.0,
    "standardise_advantages": False,
    "ratio_clip": None,
    "passes": 1,
    "minibatches": 1,
    "optimiser": "rmsprop",
    "learning_rate": 6e-4,
    "total_environment_frames": 200_000_000,
    "warmup_updates": 0,
    "rmsprop_decay": 0.99,
    "rmsprop_epsilon": 0.01,
    "gradient_clipping": 40.0,
}
_POPART = {
    **_IMPALA,
    "popart": True,
    "popart_step_size": 3e-4,
    "popart_scale_min": 1e-4,
    "popart_scale_max": 1e6,
    "reward_clipping": "none",
    "life_loss": False,
}
_AMT = {
    **_POPART,
    "network": "attentive",
    "subnets": None,
    "use_gap": False,
    "use_separate_attn_net": False,
}

PRESETS = {
    "impala_shallow": Preset(
        "Espeholt et al. 2018, arXiv 1802.01561: the shallow network, one game, clipped rewards",
        {**_IMPALA, "network": "shallow"},
    ),
    "impala_deep": Preset(
        "Espeholt et al. 2018, arXiv 1802.01561: the deep network, one game, clipped rewards",
        {**_IMPALA, "network": "deep"},
    ),
    "popart_impala_multitask": Preset(
        "Hessel et al. 2018, arXiv 1809.04474: PopArt, the deep network, unclipped rewards",
        {**_POPART, "network": "deep"},
    ),
    "amt": Preset(
        "attentive network of arXiv 1907.02874, weights from flattened features; the rest as "
        "popart_impala_multitask",
        _AMT,
    ),
    "amt_self_attention": Preset(
        "amt with attention-augmented convolutions (arXiv 1904.09925) in its sub-networks",
        {**_AMT, "network": "self_attention"},
    ),
}
