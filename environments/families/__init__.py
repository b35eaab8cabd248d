"""The families of environments: one file and one line each.

To add one, subclass `Family`, `DmFamily` or `OnDemandFamily` in a file in this folder and add a
line here. Names, `--help`, errors, evaluation, films, reports and exported policies then know it.
"""

from environments.families.atari import Atari
from environments.families.bsuite import Bsuite
from environments.families.dm_env_factory import DmEnvFactory
from environments.families.doom import Doom
from environments.families.family import DmFamily, Family, OnDemandFamily
from environments.families.gym import Gym
from environments.families.minatar import MinAtar
from environments.families.procgen import Procgen
from environments.families.toy import Toy

__all__ = ["FAMILIES", "DmFamily", "Family", "OnDemandFamily"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(Atari(), MinAtar(), Procgen(), Doom(), Toy()),
        *(Gym(), Bsuite(), DmEnvFactory()),
    )
}
