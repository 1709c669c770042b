"""Puts what the repository keeps outside docs/ on the site: the changelog and what the benchmarks measured.

In the repository those pages are linked by where they are; on the site such links lead to their copies.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


_PAGES = "benchmarks"


def on_files(files: Files, config: Any) -> Files:
    """Add the files from elsewhere."""
    files.append(File.generated(config, "changelog.md", abs_src_path=str(ROOT / "CHANGELOG.md")))
    for path in sorted((ROOT / "benchmarks" / "results").iterdir()):
        there = f"{_PAGES}/{path.name}"
        files.append(File.generated(config, there, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links between docs/ and the results at the copies; show other files of the repository without a link."""
    up = "../" if "/" in page.file.src_uri else ""
    moved = re.sub(r"\]\((?:\.\./)+benchmarks/results/", f"]({up}{_PAGES}/", markdown)
    if page.file.src_uri.startswith(_PAGES):
        moved = moved.replace("](../../docs/", "](../")
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+benchmarks/[a-z_/]+\.py\)", r"\1", moved)
