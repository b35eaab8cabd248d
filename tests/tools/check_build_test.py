"""Mistakes in a BUILD file are found; `make lint` checks this project's own."""

import pathlib
import subprocess

import pytest

from tools.check_build import Target, problems, read_targets

FILES = {
    "lib/__init__.py": "",
    "lib/inner/deep.py": "import os\n",
    "launch_programs/train.py": 'import lib.inner.deep\n\nif __name__ == "__main__":\n    lib\n',
    "tests/run.py": "",
    "tests/lib/deep_test.py": "from lib.inner import deep\n",
}
BUILD = """
load("@rules_python//python:defs.bzl", "py_library")
package(default_visibility = ["//visibility:public"])
py_library(name = "lib", srcs = glob(["lib/**/*.py"]), deps = all_requirements)
py_library(name = "programs", srcs = glob(["launch_programs/*.py"]), deps = [":lib"])
[
    py_binary(
        name = program,
        srcs = ["launch_programs/%s.py" % program],
        main = "launch_programs/%s.py" % program,
        deps = [":programs"],
    )
    for program in ["train"]
]
py_library(name = "support", srcs = glob(["tests/**/*.py"], exclude = ["tests/**/*_test.py"]))
[
    py_test(
        name = test[:-len(".py")].replace("/", "_"),
        srcs = ["tests/run.py", test],
        main = "tests/run.py",
        args = ["$(location %s)" % test],
        deps = [":support", ":programs"],
    )
    for test in glob(["tests/**/*_test.py"])
]
"""


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small project with a correct BUILD."""
    for name, text in {**FILES, "BUILD": BUILD}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)
    return tmp_path


def change(project: pathlib.Path, old: str, new: str) -> None:
    """Changes BUILD."""
    assert BUILD.count(old) == 1
    (project / "BUILD").write_text(BUILD.replace(old, new))


def test_targets_are_read_with_their_globs() -> None:
    by_name = {target.name: target for target in read_targets(BUILD, [*FILES, "BUILD"])}
    assert by_name["lib"].srcs == ("lib/__init__.py", "lib/inner/deep.py")
    assert by_name["support"].srcs == ("tests/run.py",)
    assert by_name["tests_lib_deep_test"] == Target(
        rule="py_test",
        name="tests_lib_deep_test",
        srcs=("tests/run.py", "tests/lib/deep_test.py"),
        deps=("support", "programs"),
        main="tests/run.py",
    )


def test_a_project_that_fits_has_no_problem(project: pathlib.Path) -> None:
    assert problems(project) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('["lib/**/*.py"]', '["lib/*.py"]', "lib/inner/deep.py is in no library or test"),
        (
            '["launch_programs/*.py"]',
            '["launch_programs/*.py", "lib/__init__.py"]',
            "lib/__init__.py is in 2 libraries or tests",
        ),
        (
            'in ["train"]',
            'in ["trian"]',
            "launch_programs/train.py can be run, but is no py_binary",
        ),
        (
            'in ["train"]',
            'in ["train", "gone"]',
            "gone names launch_programs/gone.py, which does not exist",
        ),
        ('[":lib"]', '[":libs"]', "programs depends on :libs, which does not exist"),
        ("deps = all_requirements", 'deps = [":programs"]', "lib depends on itself"),
        ('name = "support"', 'name = "lib"', "lib is the name of 2 targets"),
        ('["lib/**/*.py"]', '["libs/**/*.py"]', "glob(['libs/**/*.py']) finds no file"),
        ("load(", "import os\nload(", "Import is not Starlark"),
        ('py_library(name = "support"', 'cc_library(name = "support"', "'cc_library'"),
        ('main = "tests/run.py"', 'main = "lib/__init__.py"', "is not among its srcs"),
    ],
)
def test_a_wrong_build_file(project: pathlib.Path, old: str, new: str, problem: str) -> None:
    change(project, old, new)
    assert problem in "\n".join(problems(project))


@pytest.mark.parametrize(
    "line",
    [
        "import launch_programs.train",
        "from launch_programs import train",
        "from launch_programs.train import main",
        "from ..launch_programs import train",
        "def f():\n    from launch_programs import train",
    ],
)
def test_an_import_against_the_dependencies(project: pathlib.Path, line: str) -> None:
    (project / "lib" / "wrong.py").write_text(line + "\n")
    number = line.count("\n") + 1
    assert problems(project) == [
        f"lib/wrong.py:{number}: imports launch_programs/train.py of :programs, on which :lib does "
        "not depend"
    ]


def test_a_new_file_in_no_target(project: pathlib.Path) -> None:
    (project / "other").mkdir()
    (project / "other" / "file.py").write_text("")
    assert problems(project) == ["BUILD: other/file.py is in no library or test"]
