"""Writes the page of a comparison: as HTML and Markdown with its plots, or into a page that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamfer.errors import UsageError
from streamfer.training import compare_plots as plots
from streamfer.training.compare_document import Paragraph, to_html, to_markdown
from streamfer.training.compare_page import parts, title
from streamfer.training.files import replace_file

PAGE, MARKDOWN = "index.html", "compare.md"

BEGIN, END = "<!-- figures: written by `make models` -->", "<!-- /figures -->"
"""Between these a page of the documentation has its figures."""


def write_report(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write both pages and their plots (PNG, also part of the HTML) into `folder`; returns the pages.

    Each file is replaced in one step. `UsageError` if one cannot be written.
    """
    pictures = _pictures(figures)
    content, name = parts(figures, list(pictures)), title(figures)
    pages = {
        PAGE: to_html(name, content, pictures),
        MARKDOWN: f"# {to_markdown([Paragraph(name)])}\n{to_markdown(content)}",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for plot, picture in pictures.items():
            replace_file(folder / f"{plot}.png", picture)
        for page, text in pages.items():
            replace_file(folder / page, text.encode())
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return [folder / page for page in pages]


def write_between(figures: Mapping[str, Any], page: Path, images: Path, prefix: str) -> None:
    """Write the Markdown between `BEGIN` and `END` of the page, and its plots as `images`/PREFIX-NAME.png.

    What stands before and after stays. `UsageError` if the page has not both, or cannot be written.
    """
    pictures = _pictures(figures)
    try:
        before, begin, rest = page.read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise UsageError(f"{page}: expected the lines {BEGIN} and {END}; the figures go between them")
        place = images.relative_to(page.parent).as_posix()
        found = to_markdown(parts(figures, list(pictures)), f"{place}/{prefix}-")
        images.mkdir(exist_ok=True)
        for plot, picture in pictures.items():
            replace_file(images / f"{prefix}-{plot}.png", picture)
        replace_file(page, f"{before}{BEGIN}\n{found}{END}{after}".encode())
    except OSError as error:
        raise UsageError(f"{page}: cannot be written: {error.strerror or error}") from error


def _pictures(figures: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots (PNG) that these figures allow, by name."""
    found = {
        "cost": plots.against_time(figures),
        "size": plots.against_size(figures),
        "recall": plots.each_class(figures, "recall"),
        "f1": plots.each_class(figures, "f1"),
    }
    return {name: picture for name, picture in found.items() if picture}
