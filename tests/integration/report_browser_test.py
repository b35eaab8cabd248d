"""The report of a trained, resumed, evaluated and filmed toy run, in a real browser."""

import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import ROOT, run, train
from tests.launch_programs.runs import make_run
from tools import browser

pytestmark = pytest.mark.browser

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

# What CI machines need; the rest stop the browser from making requests of its own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = browser.find()
    assert path is not None, "no browser: `make test-browser` gets one, or says what to do"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("runs") / "a <b> & 'c'"
    train(
        path,
        "--level_name=toy",
        "--total_environment_frames=60000",
        "--learning_rate=2e-3",
        "--log_interval=1",
        "--test_num_episodes=0",
    )
    train(path, "--total_environment_frames=200000", "--test_num_episodes=0")
    for arguments in (
        ("evaluate", f"--logdir={path}", "--video", "--test_num_episodes=7"),
        ("report", str(path)),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    return RunDirectory(path)


@pytest.fixture
def messages() -> list[str]:
    """What the browser complained about, and its requests for anything but the page."""
    return []


@pytest.fixture
def page(chromium: Browser, directory: RunDirectory, messages: list[str]) -> Iterator[Page]:
    context = chromium.new_context(viewport=DESK)  # type: ignore[arg-type]  # a TypedDict
    opened = context.new_page()
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("requestfailed", lambda request: messages.append(f"failed: {request.url[:100]}"))
    address = directory.report.resolve().as_uri()
    opened.on(
        "request",
        lambda request: None if request.url == address else messages.append(request.url[:100]),
    )
    opened.goto(address)
    yield opened
    context.close()


def test_nothing_is_missing_and_nothing_is_fetched(page: Page, messages: list[str]) -> None:
    page.wait_for_function("[...document.images].every(image => image.complete)")
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 5
    assert min(widths) > 300
    assert all(page.evaluate("[...document.images].map(image => image.alt.length > 20)"))
    page.wait_for_timeout(500)  # for late requests
    assert messages == []
    assert page.title() == page.text_content("h1") == "a <b> & 'c'"


def test_videos_play(page: Page, directory: RunDirectory) -> None:
    videos = page.locator("video")
    assert videos.count() == 3
    for i in range(3):
        played = videos.nth(i).evaluate(
            """async video => {
                await video.play();
                await new Promise(done => video.addEventListener("timeupdate", () => {
                    if (video.currentTime > 0.3) done();
                }));
                return [video.readyState, video.duration, video.videoWidth, video.videoHeight,
                        video.error];
            }"""
        )
        assert played[0] >= 2  # the current frame is loaded
        # Ten frames at five per second.
        assert played[1:] == [pytest.approx(2.0, abs=0.05), 530, 420, None]


def test_scores_are_those_of_the_evaluation(page: Page, directory: RunDirectory) -> None:
    (path,) = directory.path.glob("evaluation-*.json")
    values = json.loads(path.read_text())
    rows = page.locator("#evaluation table.scores tbody tr")
    assert rows.count() == len(values["tasks"]) == 3
    for i, task in enumerate(values["tasks"]):
        cells = rows.nth(i).locator("th, td").all_inner_texts()
        assert cells[:2] == [task["task"], str(task["episodes"])] and task["episodes"] == 7
        names = ("mean", "standard_deviation", "random", "human", "human_normalised")
        shown = [float(cell.replace(",", "")) for cell in cells[2:]]
        assert shown == pytest.approx([task[name] for name in names], abs=0.051)
    aggregate, middle = values["human_normalised"], values["interquartile_mean"]
    assert page.inner_text("#evaluation .aggregate") == (
        f"optimum-normalised over tasks: mean {aggregate['mean']:,.1f} %, "
        f"median {aggregate['median']:,.1f} %, capped mean {aggregate['capped_mean']:,.1f} %; "
        f"interquartile mean of all episodes {middle['mean']:,.1f} %, "
        f"95 % interval {middle['low']:,.1f} to {middle['high']:,.1f}"
    )


def test_settings_and_what_it_was_trained_with(page: Page) -> None:
    marked = page.locator("#settings > .wide tr.differs")
    assert [marked.nth(i).locator("th, td").all_inner_texts() for i in range(marked.count())] == [
        ["learning_rate", "0.002", "0.001"],
        ["total_environment_frames", "200,000", "12,000,000"],
        ["log_interval", "1.0", "10.0"],
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert page.inner_text("#trained-with code >> nth=0") == commit
    page.click("text=All 2 starts of the learner")
    frames = page.locator("#trained-with details[open] tbody td.number").all_inner_texts()
    assert frames[0] == "0"
    assert int(frames[1].replace(",", "")) >= 60_000


@pytest.mark.parametrize("opened", [False, True])
def test_it_fits_a_phone(page: Page, opened: bool) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # a TypedDict
    if opened:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # Anything wider scrolls on its own.
    assert (
        page.evaluate(
            """[...document.body.querySelectorAll("*")].filter(element =>
            element.getBoundingClientRect().right > 391 && !element.closest(".wide")
        ).map(element => element.outerHTML.slice(0, 100))"""
        )
        == []
    )
    sizes = page.evaluate(
        """[...document.querySelectorAll("p, td, th, figcaption")].map(
            element => parseFloat(getComputedStyle(element).fontSize))"""
    )
    assert min(sizes) >= 14


def test_everything_is_printed(page: Page) -> None:
    """Including folded sections and the whole of a wide figure."""
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.evaluate("document.querySelector('details').open") is False
    heights = page.evaluate(
        "[...document.querySelectorAll('details td')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) > 40
    assert min(heights) > 5
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_a_damaged_video_does_not_play(chromium: Browser, tmp_path: pathlib.Path) -> None:
    """Shows that `test_videos_play` can fail."""
    directory = make_run(tmp_path, "catch_x1")
    assert run("evaluate", f"--logdir={tmp_path}", "--video").returncode == 0
    (path,) = directory.videos.glob("*.mp4")
    path.write_bytes(path.read_bytes()[:600])
    assert run("report", str(tmp_path)).returncode == 0
    page = chromium.new_page()
    page.goto(directory.report.resolve().as_uri())
    with pytest.raises(Exception, match="NotSupportedError"):
        page.locator("video").evaluate("video => video.play()")
    page.close()
