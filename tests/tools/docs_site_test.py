"""Links and images in the documentation lead to the same files in site and repository."""

import pytest
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tests.working_copy import ROOT
from tools import docs_site


@pytest.fixture(scope="module")
def config() -> MkDocsConfig:
    return load_config(str(ROOT / "mkdocs.yml"))


def make_page(config: MkDocsConfig, name: str) -> Page:
    return Page(None, File(name, config.docs_dir, config.site_dir, False), config)


def in_site(config: MkDocsConfig, name: str, markdown: str) -> str:
    """Returns a page's Markdown as the site has it."""
    return docs_site.on_page_markdown(markdown, make_page(config, name), config, Files([]))


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "docs/cluster.md", "cluster.md"),
        ("index.md", "docs/guides/metrics.md#learnercsv", "guides/metrics.md#learnercsv"),
        ("index.md", "examples/single_process.py", "source/examples/single_process.py.md"),
        ("results.md", "../benchmarks/results/pong.csv", "source/benchmarks/results/pong.csv"),
        ("guides/papers.md", "../../README.md#speed", "../index.md#speed"),
        ("guides/papers.md", "../results.md", "../results.md"),
        ("contributing.md", "CHANGELOG.md", "changelog.md"),
        ("index.md", "https://arxiv.org/abs/1802.01561", "https://arxiv.org/abs/1802.01561"),
        ("index.md", "#speed", "#speed"),
        ("index.md", "docs/no_such_page.md", "docs/no_such_page.md"),  # which MkDocs reports
    ],
)
def test_links(config: MkDocsConfig, page: str, link: str, expected: str) -> None:
    assert in_site(config, page, f"See [this]({link}).") == f"See [this]({expected})."
    code = f"```\n[this]({link})\n```"
    assert in_site(config, page, code) == code


def test_images_of_html(config: MkDocsConfig) -> None:
    image = '<img width="300" src="{}">'
    old, new = image.format("docs/images/toy.png"), image.format("images/toy.png")
    assert in_site(config, "index.md", old) == new
    with pytest.raises(PluginError, match=r"index.md: cannot show docs/images/gone.png"):
        in_site(config, "index.md", image.format("docs/images/gone.png"))


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://unpkg.com/mathjax">',
        '<link rel="stylesheet" href="//fonts.example.org/a.css">',
        '<img alt="badge" src="https://example.org/badge.svg">',
    ],
)
def test_a_page_that_needs_another_server_is_refused(config: MkDocsConfig, tag: str) -> None:
    page = make_page(config, "index.md")
    link = '<a href="https://example.org">a link</a>'
    assert docs_site.on_post_page(link, page, config) == link
    with pytest.raises(PluginError, match=r"index.md needs another server"):
        docs_site.on_post_page(link + tag, page, config)
