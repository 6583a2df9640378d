# SPDX-License-Identifier: Apache-2.0
"""Hook of mkdocs: pages that lie outside docs/, and the files of the repository that pages link to."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "training/README.md": "training.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, with their links as seen from docs/, and every file or folder's listing that a page links to."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=_moved(text, source)))
    for file in list(files.documentation_pages()):
        text = file.content_string
        for _, target, _ in LINK.findall(text):
            outside = _outside(file.src_uri, target)
            if outside and files.get_file_from_path(_shown(outside)) is None:
                files.append(File.generated(config, _shown(outside), content=_content(ROOT / outside)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository lead to their copies."""

    def moved(match: re.Match[str]) -> str:
        outside = _outside(page.file.src_uri, match[2])
        if not outside:
            return match[0]
        here = posixpath.dirname(page.file.src_uri)
        return f"{match[1]}{posixpath.relpath(_shown(outside), here or '.')}{match[3]}"

    return LINK.sub(moved, markdown)


def _moved(text: str, source: str) -> str:
    """The text of a page with its links as seen from docs/."""
    folder = posixpath.dirname(source)

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        target = PAGES.get(target, target)
        if target in PAGES.values():
            return f"{match[1]}{target}{match[3]}"
        return f"{match[1]}{posixpath.relpath(target, 'docs')}{match[3]}"

    return LINK.sub(link, text)


def _outside(page: str, target: str) -> str:
    """What a page of docs/ links to, from the repository's top; empty where it is a page, or does not exist."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    if path.startswith("docs/") or not (ROOT / path).exists():
        return ""
    return path


def _shown(path: str) -> str:
    """Where the copy of a file of the repository lies in the site."""
    return PAGES.get(path) or f"files/{path.lstrip('.')}.txt"  # a hidden folder is not built


def _content(path: Path) -> str:
    """A file's text, or the names in a folder."""
    return path.read_text() if path.is_file() else "\n".join(sorted(child.name for child in path.iterdir())) + "\n"
