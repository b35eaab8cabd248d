"""IMPALA's shallow network (arXiv 1802.01561, figure 3 left) in its Atari form."""

import haiku as hk
import jax

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.convolution import ImageConv2D, StridedConv2D
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.images import check_images
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.types import TorsoOutput

# Height and width. `environments.images` uses the same limit for what counts as an image.
SMALLEST_IMAGE = 36


class ShallowTorso(hk.Module):
    """Convolutions (16 of 8x8, stride 4; 32 of 4x4, stride 2), then `hidden_size` units; ReLU."""

    def __init__(self, config: NetworkConfig, num_tasks: int):
        super().__init__(name="shallow")
        self._hidden = Hidden(config, num_tasks)

    def __call__(self, features: Observations, task: jax.Array) -> TorsoOutput:
        """Maps uint8 images [B, S, H, W] to an embedding float32 [B, hidden_size].

        Raises:
          ValueError: features are not stacks of images of at least 36 x 36.
        """
        check_images("shallow", features, at_least=SMALLEST_IMAGE)
        x = jax.nn.relu(ImageConv2D(16, kernel=8, stride=4)(features))
        x = jax.nn.relu(StridedConv2D(32, kernel=4, stride=2)(x))
        return TorsoOutput(self._hidden(x, task))
