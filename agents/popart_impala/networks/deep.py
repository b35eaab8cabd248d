"""IMPALA's deep residual network (arXiv 1802.01561, figure 3 right)."""

import haiku as hk
import jax

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.images import check_images
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.types import TorsoOutput

_SECTIONS = (16, 32, 32)  # channels
_BLOCKS = 2  # residual blocks in a section


class DeepTorso(hk.Module):
    """15 convolutions in three sections, then a linear layer of `hidden_size`.

    A section is a 3x3 convolution, 3x3 max-pooling with stride 2, and two residual blocks of ReLU,
    3x3 convolution, ReLU, 3x3 convolution.
    """

    def __init__(self, config: NetworkConfig, num_tasks: int):
        super().__init__(name="deep")
        self._hidden = Hidden(config, num_tasks)

    def __call__(self, features: Observations, task: jax.Array) -> TorsoOutput:
        """Maps uint8 images [B, S, H, W] to an embedding float32 [B, hidden_size].

        Raises:
          ValueError: features are not stacks of images of at least 8 x 8.
        """
        check_images("deep", features, at_least=8)
        x = features.pixels().transpose(0, 2, 3, 1)
        for section, channels in enumerate(_SECTIONS):
            x = hk.Conv2D(channels, 3, name=f"section_{section}_conv")(x)
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), padding="SAME")
            for block in range(_BLOCKS):
                residual = x
                for i in range(2):
                    name = f"section_{section}_block_{block}_conv_{i}"
                    x = hk.Conv2D(channels, 3, name=name)(jax.nn.relu(x))
                x += residual
        return TorsoOutput(self._hidden(jax.nn.relu(x), task))
