"""Lines of growing files."""

import pathlib

from launch_programs.screen import appended_lines
from launch_programs.screen.appended_lines import LineFollower


def append(path: pathlib.Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_each_line_once_and_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    follower = LineFollower(path)
    assert follower.new_lines() == []  # the file is not there yet
    append(path, b"one\n\nthr")
    assert follower.new_lines() == ["one", ""]
    assert follower.new_lines() == []
    append(path, b"ee\nfour")
    assert follower.new_lines() == ["three"]
    assert follower.new_lines(last=True) == ["four"]
    assert follower.new_lines(last=True) == []


def test_starts_where_it_is_told_to(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    append(path, b"old\n")
    follower = LineFollower(path, path.stat().st_size)
    append(path, b"new\n")
    assert follower.new_lines() == ["new"]


def test_a_file_that_is_started_over(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    append(path, b"a long line\n")
    follower = LineFollower(path)
    follower.new_lines()
    path.write_bytes(b"short\n")
    assert follower.new_lines() == ["short"]


def test_bytes_that_are_no_text(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    append(path, b"\xff\xfe\nx\x85y\n")
    assert LineFollower(path).new_lines() == ["\ufffd\ufffd", "x\ufffdy"]


def test_a_flood_is_read_from_its_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    follower = LineFollower(path)
    count = appended_lines._MAX_BYTES // 10 + 1000
    append(path, b"".join(b"%09d\n" % i for i in range(count)))
    lines = follower.new_lines()
    assert lines[-1] == f"{count - 1:09d}"
    assert appended_lines._MAX_BYTES // 10 - 2 <= len(lines) < count
    assert all(len(line) == 9 for line in lines)
