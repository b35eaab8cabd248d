"""Rows of a run's tables."""

from launch_programs.run.metrics import Row


def episode(time: float, frames: int, task: str, value: float) -> Row:
    return {
        "time": time,
        "frames": frames,
        "actor": 0,
        "task": task,
        "episode_return": value,
        "episode_length": 9,
    }


def learned(time: float, frames: int, **more: float) -> Row:
    return {"time": time, "learner_steps": frames // 640, "frames": frames, **more}
