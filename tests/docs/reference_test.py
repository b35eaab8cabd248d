"""The reference has every public name."""

import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def documented() -> set[str]:
    """Names whose docstrings the pages of the reference show."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return {name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)}


@pytest.mark.parametrize(
    "package", ["agents.popart_impala", "agents.popart_impala.networks", "environments"]
)
def test_every_exported_name_is_in_the_reference(package: str) -> None:
    exported = {f"{package}.{name}" for name in importlib.import_module(package).__all__}
    assert exported - documented() == set()


def test_flags_become_tables() -> None:
    from tools.docs_site import flag_tables

    page = flag_tables()
    assert "## launch_programs.train\n" in page
    assert "| `--batch_size` | int | `32` | Unrolls in one learner update. |" in page
    assert "| `--logdir` | string | required | Run directory to evaluate. |" in page
    assert "one of `full`, `minimal`" in page
    programs = set(re.findall(r"^## (\S+)$", page, re.M))
    assert {"launch_programs.evaluate", "launch_programs.run_node", "benchmarks.soak"} <= programs
