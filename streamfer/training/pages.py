"""What the pages of the reports look like, in common."""

from __future__ import annotations

import base64
from html import escape

BASE_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #ddd; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; font-size: .93rem; }
"""

REPORT_STYLE = (
    BASE_STYLE
    + """
p { margin: .5rem 0; max-width: 46rem; }
.quiet { color: #555; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; font-weight: 400; }
thead th, thead th:first-child { font-weight: 600; border-bottom: 1px solid #888; }
.plot img { display: block; width: 42rem; max-width: 100%; height: auto; margin: .75rem 0; }
ul { padding-left: 1.2rem; max-width: 46rem; }
"""
)
"""The pages with measured figures: tables of numbers, plots."""


def html_page(title: str, style: str, body: str) -> str:
    """A whole page that needs nothing else and may load nothing: no scripts, only embedded pictures."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def plot(picture: bytes, alt: str) -> str:
    """A plot (PNG) as a part of the page."""
    return f'<div class=plot><img alt="{escape(alt)}" src="{embedded(picture)}"></div>'


def embedded(picture: bytes) -> str:
    """A PNG as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
