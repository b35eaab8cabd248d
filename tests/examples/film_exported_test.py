"""The example that films policy files."""

import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image, ImageSequence

ROOT = pathlib.Path(__file__).parents[2]


def test_it_films_all_tasks_side_by_side(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "toy.webp"
    policy = ROOT / "examples" / "toy.policy.npz"
    process = subprocess.run(
        [sys.executable, "-m", "examples.film_exported", str(policy), str(path), "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"{path}: 30 steps of catch_x1, catch_x100, catch_x10000\n"
    with Image.open(path) as film:
        assert film.size == (3 * 160, 13 + 320)  # a board of 10 x 5
        pictures = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(film)]
    assert len(pictures) == 30
    boards = np.stack(pictures)[:, 13:]
    for task in range(3):  # the ball falls
        board = boards[:, :, 160 * task : 160 * (task + 1)]
        assert len({picture.tobytes() for picture in board}) > 9
