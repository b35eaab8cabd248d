"""Checks that BUILD matches the files: `python -m tools.check_build`, without Bazel.

Starlark's syntax is a subset of Python's, so BUILD is executed as Python, with Bazel's rules
replaced by functions that record their arguments.
"""

import ast
import dataclasses
import pathlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Every Python file is in exactly one of these targets.
_OWNERS = ("py_library", "py_test")
# In these packages, every file that can be run is a py_binary.
_PROGRAMS = ("benchmarks", "launch_programs")
# Python syntax that Starlark's BUILD files lack.
_NO_STARLARK = (
    ast.AsyncFunctionDef,
    ast.Await,
    ast.ClassDef,
    ast.FunctionDef,
    ast.GeneratorExp,
    ast.Import,
    ast.ImportFrom,
    ast.JoinedStr,
    ast.Raise,
    ast.Set,
    ast.SetComp,
    ast.Try,
    ast.While,
    ast.With,
    ast.Yield,
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A target of BUILD; files are paths from the repository's root."""

    rule: str
    name: str
    srcs: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()  # names of targets, without the colon
    main: str | None = None


def project_files(root: pathlib.Path) -> list[str]:
    """The files that git does not ignore, tracked or not.

    Raises:
      subprocess.CalledProcessError: `root` is not in a git working tree.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted({name for name in listed.stdout.split("\0") if name and (root / name).exists()})


def read_targets(text: str, files: Sequence[str]) -> list[Target]:
    """The targets of a BUILD file, with their globs evaluated over `files`.

    Raises:
      ValueError: it is not Starlark, calls something unknown here, or a glob finds nothing.
    """
    try:
        tree = ast.parse(text, "BUILD")
    except SyntaxError as error:
        raise ValueError(f"BUILD: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, _NO_STARLARK):
            raise ValueError(f"BUILD:{node.lineno}: {type(node).__name__} is not Starlark")
    targets: list[Target] = []

    def rule(kind: str) -> Any:
        def note(name: str, **attributes: Any) -> None:
            targets.append(_target(kind, name, attributes))

        return note

    def glob(include: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
        found = [name for name in files if _matches(include, name) and not _matches(exclude, name)]
        if not found:
            raise ValueError(f"BUILD: glob({include}) finds no file")
        return found

    names: dict[str, Any] = {
        "__builtins__": {},
        "False": False,
        "True": True,
        "all_requirements": [],
        "glob": glob,
        "len": len,
        "load": lambda *_: None,
        "package": lambda **_: None,
    }
    names |= {kind: rule(kind) for kind in ("py_binary", "py_library", "py_test")}
    try:
        exec(compile(tree, "BUILD", "exec"), names)
    except (NameError, TypeError) as error:
        raise ValueError(f"BUILD: {error}") from error
    return targets


def _target(kind: str, name: str, attributes: Mapping[str, Any]) -> Target:
    def given(attribute: str) -> tuple[str, ...]:
        return tuple(attributes.get(attribute, ()))

    return Target(
        rule=kind,
        name=name,
        srcs=given("srcs"),
        data=given("data"),
        deps=tuple(label.removeprefix(":") for label in given("deps")),
        main=attributes.get("main"),
    )


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(_regular_expression(pattern), name) for pattern in patterns)


def _regular_expression(pattern: str) -> str:
    """Converts a Bazel glob: `**/` is any number of folders, `*` any part of one name."""
    parts = re.split(r"(\*\*/|\*)", pattern)
    wildcards = {"**/": "(?:[^/]+/)*", "*": "[^/]*"}
    return "".join(wildcards.get(part, re.escape(part)) for part in parts)


def problems(root: pathlib.Path) -> list[str]:
    """The problems with `root`'s BUILD, one line each; empty if there are none."""
    files = project_files(root)
    try:
        targets = read_targets((root / "BUILD").read_text(), files)
    except ValueError as error:
        return [str(error)]
    by_name = {target.name: target for target in targets}
    found = [
        f"BUILD: {name} is the name of {times} targets"
        for name, times in Counter(target.name for target in targets).items()
        if times > 1
    ]
    for target in targets:
        found += _wrong_names(target, by_name, set(files))
    python = [name for name in files if name.endswith(".py")]
    found += _wrong_owners(targets, python)
    found += _missing_programs(targets, python, root)
    if not found:  # otherwise targets and files do not match, and these findings would mislead
        found += _wrong_imports(targets, by_name, set(python), root)
    return found


def _wrong_names(target: Target, by_name: Mapping[str, Target], files: set[str]) -> Iterator[str]:
    named = {*target.srcs, *target.data, *([target.main] if target.main else [])}
    for name in sorted(named - files):
        yield f"BUILD: {target.name} names {name}, which does not exist"
    for dep in target.deps:
        if dep not in by_name:
            yield f"BUILD: {target.name} depends on :{dep}, which does not exist"
    if target.main is not None and target.main not in target.srcs:
        yield f"BUILD: {target.name}: main {target.main} is not among its srcs"
    if target.name in _needed(target, by_name):
        yield f"BUILD: {target.name} depends on itself"


def _needed(target: Target, by_name: Mapping[str, Target]) -> set[str]:
    """Names of the targets that a target depends on, directly or not."""
    needed: set[str] = set()
    waiting = list(target.deps)
    while waiting:
        name = waiting.pop()
        if name not in needed and name in by_name:
            needed.add(name)
            waiting += by_name[name].deps
    return needed


def _owned(target: Target) -> list[str]:
    """The target's own sources: a test's runner belongs to a library."""
    if target.rule not in _OWNERS:
        return []
    return [name for name in target.srcs if target.rule == "py_library" or name != target.main]


def _wrong_owners(targets: Sequence[Target], python: Sequence[str]) -> Iterator[str]:
    owners = Counter(name for target in targets for name in _owned(target))
    for name in python:
        if owners[name] == 0:
            yield f"BUILD: {name} is in no library or test"
        elif owners[name] > 1:
            yield f"BUILD: {name} is in {owners[name]} libraries or tests"


def _missing_programs(
    targets: Sequence[Target], python: Sequence[str], root: pathlib.Path
) -> Iterator[str]:
    mains = {target.main for target in targets if target.rule == "py_binary"}
    for name in python:
        if name.split("/")[0] in _PROGRAMS and name not in mains:
            if is_program(ast.parse((root / name).read_text(), name)):
                yield f"BUILD: {name} can be run, but is no py_binary"


def is_program(tree: ast.Module) -> bool:
    """Whether a module has `if __name__ == "__main__":`."""
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in tree.body
    )


def _wrong_imports(
    targets: Sequence[Target], by_name: Mapping[str, Target], python: set[str], root: pathlib.Path
) -> Iterator[str]:
    owner = {name: target.name for target in targets for name in _owned(target)}
    for target in targets:
        allowed = {target.name, *_needed(target, by_name)}
        for name in _owned(target):
            for line, imported in sorted(set(_imports(name, python, root))):
                if owner[imported] not in allowed:
                    yield (
                        f"{name}:{line}: imports {imported} of :{owner[imported]}, on which "
                        f":{target.name} does not depend"
                    )


def _imports(name: str, python: set[str], root: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Lines and files of the project's own modules that a file imports."""
    for node in ast.walk(ast.parse((root / name).read_text(), name)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = name.split("/")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            file = _file_of(module, python)
            if file is not None:
                yield node.lineno, file


def _file_of(module: str, python: set[str]) -> str | None:
    """The file of a module, or of the module that defines this name; None for other projects'."""
    parts = module.split(".")
    for end in (len(parts), len(parts) - 1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in python:
                return file
    return None


def main() -> int:
    """Prints the problems; returns the exit code."""
    found = problems(pathlib.Path(__file__).parents[1])
    for problem in found:
        print(problem)
    if not found:
        print("BUILD fits the files.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
