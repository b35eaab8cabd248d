"""Settings: dataclass fields that users set, each with its help text.

Flags, reports and documentation are generated from these; there is no other list of settings.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any


def setting(
    default: Any, help: str, *, choices: Sequence[str] | None = None, derived: bool = False
) -> Any:
    """Declares a dataclass field as a setting.

    Args:
      default: its default; `dataclasses.MISSING` if only the programs have one.
      help: what it means, with its unit.
      choices: the accepted values of a str setting.
      derived: the programs' default depends on the run, so the flag has no default of its own.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "derived": derived}
    )


def settings(dataclass: type) -> list[dataclasses.Field[Any]]:
    """Returns the fields of a dataclass that are settings."""
    return [field for field in dataclasses.fields(dataclass) if "help" in field.metadata]


def defaults(dataclass: type) -> dict[str, Any]:
    """Returns the settings' defaults by name, omitting settings without one."""
    return {
        field.name: field.default
        for field in settings(dataclass)
        if field.default is not dataclasses.MISSING
    }
