"""When skipped updates are reported."""

from launch_programs.nodes.skipped_updates import SkippedUpdates
from launch_programs.screen.node_output import Parser


def rows(*pairs: tuple[int, int]) -> list[str | None]:
    watch = SkippedUpdates()
    return [watch.warning({"learner_steps": n, "skipped_updates": k}) for n, k in pairs]


def test_a_share_of_more_than_one_percent_is_told() -> None:
    told = rows((100, 0), (200, 1), (300, 3), (301, 3), (302, 4), (900, 4))
    assert [line is not None for line in told] == [False, False, True, False, True, False]
    assert told[2] is not None and told[2].startswith("2 of the last 100 updates were skipped, ")
    assert told[4] is not None and told[4].startswith("1 of the last 1 updates ")


def test_a_resumed_learner_begins_at_its_step() -> None:
    watch = SkippedUpdates()
    watch.steps = 10_000
    line = watch.warning({"learner_steps": 10_050, "skipped_updates": 10})
    assert line is not None and line.startswith("10 of the last 50 ")
    assert Parser().parse(f"warning: {line}") == f"warning: {line}"  # so the screen shows it
