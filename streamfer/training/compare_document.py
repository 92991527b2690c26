"""A page as a list of parts, which becomes HTML and Markdown: both say the same."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from streamfer.training.pages import REPORT_STYLE, html_page, plot

_WIDTH = 115
"""Columns at which the Markdown's text is wrapped."""

_STYLE = (
    REPORT_STYLE
    + """
th, td { white-space: normal; vertical-align: top; overflow-wrap: break-word; }
thead th { vertical-align: bottom; }
td span { white-space: nowrap; }
th[scope=row] { min-width: 7rem; }
td.words { min-width: 8.5rem; }
td.words, th.words { text-align: left; padding-left: 1rem; }
td b { font-weight: 600; }
.whole .plot img { width: 100%; }
"""
)


class Strong(str):
    """The text of a cell that stands out."""


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text; `quiet` is for what only some look for."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Items:
    """A list of sentences; nothing without one."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells, each as many as `heads`; columns are numbers but for the first and those of `words`."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    """A picture by its name, described for those who do not see it; `whole` if it takes the page's width."""

    name: str
    alt: str
    whole: bool = False


Part = Heading | Paragraph | Items | Table | Plot


def to_html(title: str, parts: Sequence[Part], pictures: Mapping[str, bytes]) -> str:
    """A page that needs nothing else; `pictures` (PNG) by the names of the plots."""
    body = [f"<h1>{escape(title)}</h1>"]
    for part in parts:
        match part:
            case Heading(text):
                body.append(f"<h2>{escape(text)}</h2>")
            case Paragraph(text, quiet):
                body.append(f"<p{' class=quiet' if quiet else ''}>{escape(text)}</p>")
            case Items(texts):
                items = "".join(f"<li>{escape(text)}</li>" for text in texts)
                body.append(f"<ul>{items}</ul>" if texts else "")
            case Table():
                body.append(_html_table(part))
            case Plot(name, alt, whole):
                shown = plot(pictures[name], alt)
                body.append(f"<div class=whole>{shown}</div>" if whole else shown)
    return html_page(title, _STYLE, "\n".join(body))


def to_markdown(parts: Sequence[Part], prefix: str = "") -> str:
    """The parts with plots as `prefix` + name + ".png" beside them; ends with a newline."""
    blocks = []
    for part in parts:
        match part:
            case Heading(text):
                blocks.append(f"## {_escaped(text)}")
            case Paragraph(text):
                blocks.append(_wrapped(text))
            case Items(texts):
                blocks.append("\n".join(_wrapped(text, "- ") for text in texts))
            case Table():
                blocks.append(_markdown_table(part))
            case Plot(name, alt):
                blocks.append(_filled(f"![{_escaped(alt)}]({prefix}{name}.png)"))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _html_table(table: Table) -> str:
    kinds = [" class=words" if name in table.words else "" for name in table.heads]
    head = "".join(
        f"<th scope=col{kind}>{escape(one)}</th>" for one, kind in zip(table.heads, kinds, strict=True)
    )
    body = ""
    for first, *cells in table.rows:
        body += f"<tr><th scope=row>{escape(first)}</th>"
        for kind, cell in zip(kinds[1:], cells, strict=True):
            body += f"<td{kind}>{escape(cell) if kind else _figure(cell)}</td>"
        body += "</tr>"
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _figure(text: str) -> str:
    """A figure, which a narrow column breaks before its interval and nowhere else."""
    value, bracket, interval = escape(text).partition(" (")
    shown = f"<span>{value}</span>" + (f" <span>({interval}</span>" if bracket else "")
    return f"<b>{shown}</b>" if isinstance(text, Strong) else shown


def _markdown_table(table: Table) -> str:
    left = {table.heads[0], *table.words}
    lines = [
        table.heads,
        ["---" if name in left else "---:" for name in table.heads],
        *(
            [f"**{_escaped(cell)}**" if isinstance(cell, Strong) else _escaped(cell) for cell in row]
            for row in table.rows
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _wrapped(text: str, bullet: str = "") -> str:
    return _filled(_escaped(text), bullet)


def _filled(markdown: str, bullet: str = "") -> str:
    return textwrap.fill(
        markdown,
        _WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; an underscore within a word needs no help."""
    line = re.sub(r"[ \t\r\n]+", " ", text)  # not the spaces that keep words together
    return re.sub(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
