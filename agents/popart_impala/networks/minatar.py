"""The network of MinAtar's paper (Young and Tian 2019, arXiv 1903.03176), for small boards."""

import haiku as hk
import jax

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.convolution import BoardConv2D
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.images import check_boards
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.types import TorsoOutput

# Units of the linear layer in the paper.
HIDDEN_SIZE = 128


class MinAtarTorso(hk.Module):
    """An unpadded 3x3 convolution, 16 channels, then a linear layer of `hidden_size`; ReLU."""

    def __init__(self, config: NetworkConfig, num_tasks: int):
        super().__init__(name="minatar")
        self._hidden = Hidden(config, num_tasks)

    def __call__(self, features: Observations, task: jax.Array) -> TorsoOutput:
        """Maps boards, bool [B, H, W, C], to an embedding float32 [B, hidden_size].

        Raises:
          ValueError: features are not boards of at least 3 x 3.
        """
        check_boards("minatar", features, at_least=3)
        x = jax.nn.relu(BoardConv2D(16, kernel=3, stride=1)(features))
        return TorsoOutput(self._hidden(x, task))
