"""Writes a run's report: `python -m launch_programs.report RUN`.

The report is one self-contained HTML page, RUN/report.html: settings, learning curves, PopArt's
statistics, evaluation, videos, failures, and the code, packages and machines used for training. It
can be called while the run is in progress; an earlier report is replaced.
"""

import os
import pathlib

import jinja2
from absl import flags

from launch_programs.console import command_line
from launch_programs.run.run_directory import RunDirectory, check_output, user_path
from launch_programs.views.report_contents import Contents, read_contents

FLAGS = flags.FLAGS

# Marks every report, so that no other page is mistaken for one and replaced.
_MARK = '<meta name="generator" content="popart-impala launch_programs.report">'

_TEMPLATE = pathlib.Path(__file__).with_name("report.html.jinja")


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("output", None, "File to write; by default RUN/report.html.")


def render(contents: Contents) -> str:
    """Renders the page; all text from the run is escaped.

    Args:
      contents: what the page shows.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text("utf-8")).render(contents=contents)


def report(directory: RunDirectory, output: str | None = None) -> pathlib.Path:
    """Writes a run's report atomically: a reader sees either the old report or the new one.

    Args:
      directory: the run directory.
      output: path of the file; by default in the run directory.

    Returns:
      The file's path.

    Raises:
      ValueError: it is not a run directory, one of its files is damaged, or the file at `output` is
        not a report.
      OSError: a file cannot be read or written.
    """
    path = directory.report if output is None else user_path(output)
    if path.exists() and _MARK not in path.read_text("utf-8", errors="replace")[:2048]:
        raise ValueError(f"{path} is no report of this program's: move it away")
    directory.read_config()  # raises first if this is not a run
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
