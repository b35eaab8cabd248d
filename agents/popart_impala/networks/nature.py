"""The DQN network of the Nature paper (Mnih et al. 2015, doi 10.1038/nature14236)."""

import haiku as hk
import jax

from agents.popart_impala.config import Config
from agents.popart_impala.networks.convolution import ImageConv2D, StridedConv2D
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.images import check_images
from agents.popart_impala.networks.types import TorsoOutput


class NatureTorso(hk.Module):
    """Convolutions 32 of 8x8/4, 64 of 4x4/2 and 64 of 3x3/1, then a linear layer; ReLU."""

    def __init__(self, config: Config, num_tasks: int):
        """Makes the torso."""
        super().__init__(name="nature")
        self._hidden = Hidden(config, num_tasks)

    def __call__(self, features: jax.Array, task: jax.Array) -> TorsoOutput:
        """Maps uint8 images [B, S, H, W] to an embedding float32 [B, hidden_size].

        Raises:
          ValueError: features are not stacks of images of at least 36 x 36.
        """
        check_images("nature", features, at_least=36)
        x = jax.nn.relu(ImageConv2D(32, kernel=8, stride=4)(features))
        x = jax.nn.relu(StridedConv2D(64, kernel=4, stride=2)(x))
        x = jax.nn.relu(hk.Conv2D(64, 3, padding="VALID")(x))
        return TorsoOutput(self._hidden(x, task))
