"""The troubleshooting guide quotes messages as the programs print them."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "troubleshooting.md"
GAP = "…"


def quoted() -> list[str]:
    """The guide's messages: the lines of its block quotes."""
    return re.findall(r"^> (.+)$", GUIDE.read_text(), re.MULTILINE)


def texts(tree: ast.AST) -> Iterator[str]:
    """A module's strings except its docstrings, with a gap for each inserted value."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{\}", GAP, node.value)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """All strings that the programs may print."""
    files = [ROOT / "tools" / "bootstrap.py"]
    for package in ("agents", "environments", "launch_programs"):
        files += sorted((ROOT / package).rglob("*.py"))
    return [" ".join(text.split()) for file in files for text in texts(ast.parse(file.read_text()))]


def is_said(message: str, said: list[str]) -> bool:
    """Whether one text contains a message; a gap in the message matches anything."""
    words = [re.escape(part) for part in message.split(GAP)]
    return any(re.search(".*".join(words), text) for text in said)


def test_the_guide_quotes_messages() -> None:
    assert len(quoted()) >= 30


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_in_the_source(message: str, said: list[str]) -> None:
    assert is_said(message, said)


def test_a_message_that_no_program_has_is_found_out(said: list[str]) -> None:
    assert is_said("logdir=…: another run is using it", said)
    assert not is_said("logdir=…: another run was using it", said)
