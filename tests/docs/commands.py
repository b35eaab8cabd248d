"""The commands and the Python code that README and docs/ show."""

import importlib
import pathlib
import re
import shlex
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]

# In reading order: later pages use what earlier commands made.
DOCUMENTS = [
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    "CONTRIBUTING.md",
]

# Matches the start of a command; a block with such a line shows commands.
_STARTS = re.compile(
    r"(\S*/)?(python3?|ray|pip|uv|uv-\S+|pre-commit|tensorboard|wandb|playwright) |make(?= |$)|"
    r"(bash|cd|curl|docker|export|gcloud|gcsfuse|git|kubectl|nohup|sbatch|scp|ssh|sudo) |[A-Z_]+=\S"
)
_FENCE = re.compile(r"(`{3,})(\w*)$")
_FLAG = re.compile(r"""(?<=\s)--\w+(?:=(?:"[^"]*"|\S*))?""")
_PROGRAM = re.compile(r"-m ((?:launch_programs|benchmarks)\.\w+)")


class Snippet(NamedTuple):
    """A command, script or block of Python that a document tells the reader to run."""

    document: str
    line: int  # number of its first line
    language: str  # "sh" for one command, "bash" for a script, "python"
    text: str


def snippets(document: str) -> Iterator[Snippet]:
    """Yields a document's snippets in order."""
    for line, language, lines in _blocks((ROOT / document).read_text().splitlines()):
        if language == "python":
            yield Snippet(document, line, "python", "\n".join(lines) + "\n")
        elif lines[0].startswith("#!"):
            yield Snippet(document, line, "bash", "\n".join(lines) + "\n")
        elif language in ("", "sh", "bash", "console") and any(map(_STARTS.match, lines)):
            for offset, command in _commands(lines):
                yield Snippet(document, line + offset, "sh", command)


def _blocks(lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yields code blocks, fenced or indented by four spaces: first line, language, lines."""
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number].strip())
        start = number + 1
        if fence:
            end = start
            while lines[end].strip() != fence[1]:
                end += 1
            yield start + 1, fence[2], [line.strip("\n") for line in lines[start:end]] or [""]
            number = end + 1
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            yield number + 1, "", [line[4:] for line in lines[number:end]]
            number = end
        else:
            number += 1


def _commands(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yields the commands in a block, each as one line; other lines are output."""
    number = 0
    while number < len(lines):
        first, text = number, lines[number]
        number += 1
        if not _STARTS.match(text):
            continue
        while text.endswith("\\") or _is_open(text):
            text = text.removesuffix("\\").rstrip() + " " + lines[number].strip()
            number += 1
        text = _without_comment(text)
        yield first, re.sub(r"\[(--[^\]]+)\]", r"\1", text)  # [--option]: with the option


def _without_comment(text: str) -> str:
    """Cuts off ` # comment`; no command here has one in quotes."""
    return re.sub(r"\s+#\s.*$", "", text)


def _is_open(text: str) -> bool:
    """Whether a quotation continues on the next line."""
    try:
        shlex.split(_without_comment(text))
    except ValueError:
        return True
    return False


def programs(text: str) -> list[tuple[ModuleType, list[str]]]:
    """The project's programs that a text starts, each with its flags.

    Continued lines are joined; what the shell would substitute, such as `$logdir`, is left alone.
    """
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        for match in _PROGRAM.finditer(line):
            given = _FLAG.findall(line[match.end() :].split(" & ")[0].split(" || ")[0])
            flags = [flag.replace('"', "") for flag in given]
            found.append((importlib.import_module(match[1]), flags))
    return found
