"""Writes a run's report: `python -m launch_programs.report RUN`.

One HTML page, RUN/report.html, that needs nothing else: settings, learning curves, PopArt's
statistics, evaluation, videos, failures, and what the run was trained with. It can be called while
the run continues; an earlier report is replaced.
"""

import os
import pathlib

import jinja2
from absl import flags

from launch_programs.console import command_line
from launch_programs.run.run_directory import RunDirectory, check_output, user_path
from launch_programs.views.report_contents import Contents, read_contents

FLAGS = flags.FLAGS

# In every report, so that no other page is taken for one and replaced.
_MARK = '<meta name="generator" content="popart-impala launch_programs.report">'

_TEMPLATE = pathlib.Path(__file__).with_name("report.html.jinja")


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("output", None, "File to write; by default RUN/report.html.")


def render(contents: Contents) -> str:
    """The page; all text of the run is escaped.

    Args:
      contents: what it shows.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text("utf-8")).render(contents=contents)


def report(directory: RunDirectory, output: str | None = None) -> pathlib.Path:
    """Writes a run's report; a reader of the file sees the old one or the new one.

    Args:
      directory: of the run.
      output: path of the file; by default in the run's directory.

    Returns:
      The file's path.

    Raises:
      ValueError: it is not a run directory, a file of it is damaged, or there is a file at `output`
        that is no report.
      OSError: a file cannot be read or written.
    """
    path = directory.report if output is None else user_path(output)
    if path.exists() and _MARK not in path.read_text("utf-8", errors="replace")[:2048]:
        raise ValueError(f"{path} is no report of this program's: move it away")
    directory.read_config()  # first of all: is it a run?
    check_output(path.parent)
    page = render(read_contents(directory))
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page, "utf-8")
    os.replace(temporary, path)
    return path


def main(argv: list[str]) -> None:
    """Entry point."""
    command_line.set_up_process()
    try:
        if len(argv) != 2:
            raise ValueError(
                "one run directory must be given: python -m launch_programs.report RUN"
            )
        path = report(RunDirectory(argv[1]), FLAGS.output)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    print(f"written to {path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
