"""Settings: fields of dataclasses that users set, with the text that explains them.

Flags, reports and documentation are made from these; there is no other list of settings.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any


def setting(
    default: Any, help: str, *, choices: Sequence[str] | None = None, derived: bool = False
) -> Any:
    """A field of a dataclass that is a setting.

    Args:
      default: its value; `dataclasses.MISSING` where only a program has one.
      help: what it means, with its unit.
      choices: the values that it may have, of a str.
      derived: the programs' default depends on the run, and a flag of this name has none.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "derived": derived}
    )


def settings(dataclass: type) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass that are settings."""
    return [field for field in dataclasses.fields(dataclass) if "help" in field.metadata]


def defaults(dataclass: type) -> dict[str, Any]:
    """The settings' defaults by name, of those that have one."""
    return {
        field.name: field.default
        for field in settings(dataclass)
        if field.default is not dataclasses.MISSING
    }
