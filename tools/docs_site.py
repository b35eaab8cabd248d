"""An MkDocs hook (mkdocs.yml) for what the documentation site has besides docs/.

README, changelog and contributing are pages, and the page of flags is generated from the programs.
A page's link to any other file of the project leads to a copy of it in the site, so the same links
work in the repository and in the site. A page that needs another server fails the build.
"""

import ast
import importlib
import pathlib
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from absl import flags
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[1]

# Files outside docs/ that are pages of their own, with their names in the site.
_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
# The page that the tables of flags are added to.
_FLAGS_PAGE = "reference/flags.md"
# A link or an image of Markdown, [text](target), or an image of HTML, <img src="target">.
_LINK = re.compile(r"""(\]\(|<img\s[^>]*src=")([^)\s"]+)((?:\s+"[^"]*")?\)|")""")
_FENCE = re.compile(r"^\s*(```|~~~)")
# Anything that a browser would fetch from another server to show a page.
_FOREIGN = re.compile(
    r"""<(?:script|img|link|iframe|video)\s[^>]*(?:src|href)="?(?:https?:)?//[^">]*"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the files that any page links to."""
    for source, name in _PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    for file in [*files.documentation_pages()]:
        for target in _links(file.content_string):
            path = _outside(_origin(file.src_uri), target)
            if path is not None and files.get_file_from_path(_published(path)) is None:
                files.append(_copy(config, path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the repository's links into the site's, and adds the tables of flags.

    Raises:
      PluginError: the page has an HTML image that is not in the repository.
    """

    def replace(match: re.Match[str]) -> str:
        path = _outside(_origin(page.file.src_uri), match[2])
        if path is None:
            if match[1].startswith("<img"):  # MkDocs checks only Markdown links
                raise PluginError(f"{page.file.src_uri}: cannot show {match[2]}; use ![text](file)")
            return match[0]
        folder = posixpath.dirname(page.file.src_uri)
        anchor = "".join(match[2].partition("#")[1:])
        return match[1] + posixpath.relpath(_published(path), folder or ".") + anchor + match[3]

    lines = [_LINK.sub(replace, line) if is_text else line for line, is_text in _lines(markdown)]
    if page.file.src_uri == _FLAGS_PAGE:
        lines += ["", flag_tables()]
    return "\n".join(lines)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Rejects anything that a browser would fetch from another server.

    Raises:
      PluginError: the page has such a reference.
    """
    foreign = _FOREIGN.search(output)
    if foreign:
        raise PluginError(f"{page.file.src_uri} needs another server: {foreign[0]}")
    return output


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Lines, and whether each is outside fenced code."""
    fenced = False
    for line in markdown.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
            yield line, False
        else:
            yield line, not fenced


def _links(markdown: str) -> list[str]:
    text = [line for line, is_text in _lines(markdown) if is_text]
    return [match[2] for line in text for match in _LINK.finditer(line)]


def _origin(page: str) -> str:
    """The repository path of a page of the site."""
    for source, name in _PAGES.items():
        if name == page:
            return source
    return f"docs/{page}"


def _outside(origin: str, target: str) -> str | None:
    """The repository path of a link's target; None for links that MkDocs itself resolves."""
    if re.match(r"[a-z]+:|#", target) or not target:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target.partition("#")[0]))
    if origin.startswith("docs/") and path.startswith("docs/"):
        return None
    return path if (ROOT / path).is_file() else None  # MkDocs reports missing files


def _published(path: str) -> str:
    """The name in the site of a repository file."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith((".md", ".png", ".svg", ".gif", ".mp4", ".csv", ".json")):
        return _PAGES.get(path, f"source/{path}")
    return f"source/{path}.md"


def _copy(config: MkDocsConfig, path: str) -> File:
    name = _published(path)
    if name != f"source/{path}.md":
        return File.generated(config, name, abs_src_path=str(ROOT / path))
    language = "python" if path.endswith(".py") else ""
    text = f"# {path}\n\n```{language}\n{(ROOT / path).read_text().rstrip()}\n```\n"
    return File.generated(config, name, content=text)


def flag_tables() -> str:
    """A section for each program that has flags, with a table of them."""
    names = ["launch_programs.train"]
    for package in ("launch_programs", "benchmarks"):
        paths = [path for path in (ROOT / package).glob("*.py") if _has_flags(path)]
        names += sorted({f"{package}.{path.stem}" for path in paths} - {*names})
    rows = {name: _flag_rows(name) for name in names}
    train = rows[names[0]]
    sections = []
    for name in names:
        shared = [
            flag for flag, row in rows[name].items() if name != names[0] and row == train.get(flag)
        ]
        own = {flag: row for flag, row in rows[name].items() if flag not in shared}
        sections.append(_flags_section(name, own, shared))
    return "\n".join(sections)


def _has_flags(path: pathlib.Path) -> bool:
    body = ast.parse(path.read_text()).body
    defines = any(
        isinstance(node, ast.FunctionDef) and node.name == "define_flags" for node in body
    )
    return defines and any(isinstance(node, ast.If) for node in body)


def _flag_rows(name: str) -> dict[str, str]:
    """A program's flags, by name, each as a row of a table."""
    module = importlib.import_module(name)
    before = set(flags.FLAGS)
    module.define_flags()
    try:
        own = flags.FLAGS.get_key_flags_for_module(name)
        return {flag.name: _flag_row(flag) for flag in sorted(own, key=lambda flag: flag.name)}
    finally:
        for defined in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, defined)


def _flags_section(name: str, rows: Mapping[str, str], shared: Sequence[str]) -> str:
    """A program's description and flags; flags identical to `train`'s only by name."""
    lines = [f"## {name}", "", str(sys.modules[name].__doc__).strip(), ""]
    if rows:
        lines += ["| flag | kind | default | |", "|---|---|---|---|", *rows.values(), ""]
    if shared:
        listed = ", ".join(f"`--{flag}`" for flag in shared)
        lines += [f"And, as [`train`](#launch_programstrain) has them: {listed}.", ""]
    return "\n".join(lines)


def _flag_row(flag: flags.Flag) -> str:
    kind = flag.flag_type()
    values = getattr(flag.parser, "enum_values", None)
    if values:
        kind = "one of " + ", ".join(f"`{value}`" for value in values)
    if isinstance(flag, flags.MultiFlag):
        kind += ", may be repeated"
    required = any("must have a value" in validator.message for validator in flag.validators)
    default = "required" if required else "" if flag.default is None else f"`{_plain(flag)}`"
    text = re.sub(r"^<[^>]*>: ", "", " ".join(str(flag.help).split()))  # an enum's values
    text = text.replace("|", "\\|").replace("<", "&lt;")
    return f"| `--{flag.name}` | {kind} | {default} | {text} |"


def _plain(flag: flags.Flag) -> str:
    if flag.default == [] or flag.default == "":
        return "none"
    if isinstance(flag.default, int) and not isinstance(flag.default, bool):
        return f"{flag.default:,}"
    return str(flag.default_as_str).strip("'")
