"""The report of an import: what the data is, and what was found in it, on one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from streamfer.errors import UsageError
from streamfer.training.dataset import SPLITS, Dataset
from streamfer.training.datasets import pictures
from streamfer.training.datasets.findings import Findings, Rows
from streamfer.training.datasets.importing import Imported
from streamfer.training.files import replace_file
from streamfer.training.pages import BASE_STYLE

PAGE = "index.html"

GROUPS = 12
"""How many groups of each finding are shown."""
_MEMBERS = 8
"""How many pictures of a group are shown."""

_STYLE = (
    BASE_STYLE
    + """
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem; }
p, ul { margin: .5rem 0; max-width: 46rem; }
.quiet { color: #555; overflow-wrap: anywhere; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child, .files td { text-align: left; font-weight: 400; overflow-wrap: anywhere; }
thead th { font-weight: 600; border-bottom: 1px solid #888; }
.plot { display: block; max-width: 100%; height: auto; margin: .75rem 0; }
.groups { display: flex; flex-wrap: wrap; gap: .6rem; margin: .75rem 0; }
.group { display: flex; flex-wrap: wrap; gap: .35rem; border: 1px solid #d5d5d5; border-radius: 6px;
  padding: .5rem; }
figure { margin: 0; width: 5.2rem; font-size: .72rem; line-height: 1.3; overflow-wrap: anywhere; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #eee; }
"""
)


def write_report(imported: Imported, folder: Path) -> Path:
    """Write the page into `folder`, in one step; returns it. It shows faces of the data.

    `UsageError` if it cannot be written.
    """
    page = folder / PAGE
    content = _page(imported).encode("utf-8", "backslashreplace")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(page, content)
    except OSError as error:
        raise UsageError(f"--report {folder}: cannot be written: {error.strerror or error}") from error
    return page


def _page(imported: Imported) -> str:
    data = imported.data
    height, width, channels = data.images.shape[1:]
    notes = [str(note) for note in data.about.get("notes", ())]
    sections = [
        f"<h1>{escape(data.name)}</h1>",
        f"<p class=quiet>{len(data):,} faces of {height}×{width} pixels, "
        f"{'gray' if channels == 1 else 'RGB'}. SHA-256 {data.sha256}</p>",
        _list(notes),
        "<h2>Classes and splits</h2>",
        _counts(data),
        _plot(
            pictures.distribution(data), "Bar chart of the rows of each class in each split, as in the table."
        ),
        "<h2>Examples</h2>",
        "<p>Drawn at random from all splits; under each class the number of its rows.</p>",
        _plot(pictures.contact_sheet(data), "A row of examples for each class."),
        "<h2>Findings</h2>",
        _list(imported.findings.lines()),
        *_findings(data, imported.findings),
        *_files(imported),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(data.name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _counts(data: Dataset) -> str:
    table = pictures.counts(data)
    rows = [
        [name, *(f"{count:,}" for count in table[:, label]), f"{table[:, label].sum():,}"]
        for label, name in enumerate(data.label_names)
    ]
    rows.append(["all", *(f"{count:,}" for count in table.sum(axis=1)), f"{table.sum():,}"])
    return _table(["class", *SPLITS, "all"], rows)


def _findings(data: Dataset, found: Findings) -> Iterable[str]:
    """The pictures of every kind of finding there is, the gravest first."""
    yield from _groups(data, "The same image with different labels", found.conflicts)
    for (before, split), rows in found.leaks.items():
        pairs = _pairs(data, rows, found.duplicates, before)
        yield from _groups(data, f"{split} images that also stand in {before}", pairs)
    yield from _groups(data, "Nearly the same", found.near)
    yield from _groups(data, "The same image more than once", found.duplicates)
    yield from _groups(data, "Constant", [row[None] for row in found.constant])
    for (before, split), names in found.shared_subjects.items():
        shown = ", ".join(names[:100]) + (" …" if len(names) > 100 else "")
        yield f"<h3>Subjects both in {before} and in {split}</h3><p>{escape(shown)}</p>"


def _pairs(data: Dataset, rows: Rows, groups: Sequence[Rows], before: str) -> list[Rows]:
    """Each of the rows with the first row of the split `before` that has the same image."""
    known = data.split == SPLITS.index(before)
    leaked = set(rows.tolist())
    return [
        np.array([group[known[group]][0], row])
        for group in groups
        for row in group.tolist()
        if row in leaked and known[group].any()
    ]


def _groups(data: Dataset, title: str, groups: Sequence[Rows]) -> Iterable[str]:
    if not len(groups):
        return
    of = f"{GROUPS} of {len(groups):,}" if len(groups) > GROUPS else f"{len(groups):,}"
    yield f"<h3>{escape(title)} ({of})</h3>"
    places = np.linspace(0, len(groups) - 1, min(GROUPS, len(groups))).round().astype(int)
    shown = [
        f"<div class=group>{''.join(_face(data, row) for row in groups[place][:_MEMBERS])}</div>"
        for place in places
    ]
    yield f"<div class=groups>{''.join(shown)}</div>"


def _face(data: Dataset, row: int) -> str:
    label, split = data.label_names[data.labels[row]], SPLITS[data.split[row]]
    origin = f"row {row}" if data.origins is None or not data.origins[row] else str(data.origins[row])
    return (
        f'<figure><img src="{_inline(pictures.face(data.images[row]))}" alt="{escape(label)}">'
        f"<figcaption><b>{escape(label)}</b><br>{split}<br>{escape(origin)}</figcaption></figure>"
    )


def _files(imported: Imported) -> Iterable[str]:
    if imported.skipped:
        yield f"<h2>Files that gave no face ({len(imported.skipped):,})</h2>"
        yield _table(["file", "reason"], [[one.path, one.reason] for one in imported.skipped], "files")
    if imported.crowded:
        yield f"<h2>Photos with several faces ({len(imported.crowded):,})</h2>"
        yield "<p>The face that was found most clearly was taken.</p>"
        yield _table(["file"], [[one] for one in imported.crowded], "files")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    heading = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide {kind}">{table}</div>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _plot(png: bytes, alt: str) -> str:
    return f'<img class=plot src="{_inline(png)}" alt="{escape(alt)}">'


def _inline(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
