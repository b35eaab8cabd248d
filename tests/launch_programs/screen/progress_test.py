"""Screens: which one is used when, and what the plain one prints when."""

import io
import os
import pty
import sys

import pytest

from launch_programs.screen.progress import LiveScreen, PlainScreen, QuietScreen, open_screen
from tests.launch_programs.statuses import make_status


def test_lines_become_rarer(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    screen = PlainScreen(clock=lambda: now)
    printed = []
    for i in range(1, 2_000):
        now = 10.0 * i
        screen.progress(f"{now:.0f}")
        printed += [int(line) for line in capsys.readouterr().out.splitlines()]
    assert printed[:9] == [10, 20, 30, 40, 60, 80, 110, 150, 200]
    assert printed[-2] == printed[-1] - 600
    screen.close()
    assert capsys.readouterr().out == f"{now:.0f}\n"  # the last line is always printed
    screen.close()
    assert capsys.readouterr().out == ""


def test_messages_are_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    for screen in (PlainScreen(), QuietScreen()):
        screen.message("actor/1: WARNING: [bold]x[/bold]")
        assert capsys.readouterr().out == "actor/1: WARNING: [bold]x[/bold]\n"


def test_a_quiet_screen_has_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    screen = open_screen(make_status("pong"), "runs/mine", quiet=True)
    screen.progress("1%")
    screen.update()
    screen.close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("terminal", "term", "kind"),
    [
        (True, "xterm", LiveScreen),
        (True, "dumb", PlainScreen),
        (False, "xterm", PlainScreen),
    ],
)
def test_the_display_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours do not make a file a terminal
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as file:
        monkeypatch.setattr(sys, "stdout", file if terminal else io.StringIO())
        assert type(open_screen(make_status("pong"), "runs/mine", quiet=False)) is kind
        monkeypatch.undo()
    os.close(ours)
