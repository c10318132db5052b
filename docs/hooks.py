"""The site (mkdocs) of pages that are written for the repository: README.md first, links to its files kept.

A page links to what it names where that lies in the repository, such as ``../results/reference/digits/metrics.csv``.
The site carries these files along, in ``files/``, and the links follow. The reference of docs/api.md, plain text in the
repository, is made by mkdocstrings here.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
REFERENCE = "<!-- reference -->"
CARRIED = "files/"  # where the repository's files lie in the site


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page and the files that are linked, directly or by a Markdown file that is."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for target in sorted(_linked(page.content_string, _origin(page.src_uri))):
            carried = _place(target)
            if carried.startswith(CARRIED) and files.get_file_from_path(carried) is None and (ROOT / target).is_file():
                new = File.generated(config, carried, abs_src_path=str(ROOT / target))
                files.append(new)
                waiting += [new] if carried.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links point to where the site has their files."""
    here = page.file.src_uri
    if here == "api.md":
        above, _, below = markdown.partition(REFERENCE)
        names = re.findall(r"^## `(.+)`$", below, re.M)
        markdown = above + "\n\n".join(f"::: {name}" for name in names)

    def moved(match: re.Match[str]) -> str:
        opening, link, anchor = match[1], match[2], match[3] or ""
        if ":" in link:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(_origin(here)), link))
        return opening + posixpath.relpath(_place(target), posixpath.dirname(here) or ".") + anchor

    parts = re.split(f"({FENCE.pattern})", markdown, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def _linked(text: str, origin: str) -> set[str]:
    """Paths in the repository that a page links to, outside of blocks of code."""
    links = {match[2] for match in LINK.finditer(FENCE.sub("", text)) if ":" not in match[2]}
    return {posixpath.normpath(posixpath.join(posixpath.dirname(origin), link)) for link in links}


def _origin(page: str) -> str:
    """Where a page of the site lies in the repository."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix(CARRIED) if page.startswith(CARRIED) else f"docs/{page}"


def _place(path: str) -> str:
    """Where a file of the repository lies in the site."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else CARRIED + path
