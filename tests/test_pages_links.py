"""Every relative link of README and docs leads to a file, and to a heading of it where it names one."""

import re
from pathlib import Path

import pytest

from dpmot.plugins import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "templates" not in page.parts]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    for link in LINK.findall(CODE.sub("`", page.read_text(encoding="utf-8"))):
        name, _, anchor = link.partition("#")
        if ":" in name:
            continue
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT) and target.is_file(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link} names no heading of {target.name}"


def test_a_heading_has_the_anchor_that_github_and_the_site_give_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Audit and sigma_M*\n\n```\n# a comment\n```\n\n## `dpmot.sample`, 2 ways\n")
    assert _anchors(page) == {"audit-and-sigma_m", "dpmotsample-2-ways"}


def test_every_page_of_the_site_is_reached_from_its_navigation():
    listed = re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert set(listed) == pages | {"index.md"}  # which docs/hooks.py makes of README.md


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    words = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in re.findall(r"^#+ (.+)$", text, re.M)]
    return {word.replace(" ", "-") for word in words}
