"""A self-contained HTML page: one column, system fonts, figures that line up, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

CHART = '<figure class="chart">'
"""How a chart begins, see ``router_sdk.pages.charts``."""


@cache
def page_file(name: str, package: str = "router_sdk.pages") -> str:
    """The text of a style sheet, script or template that stands beside the code of ``package``."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def html_page(title: str, body: str, style: str = "") -> str:
    """The whole document; the charting script is in it where there is a chart.

    Args:
        title: For the window.
        body: Finished HTML.
        style: Rules of this page alone, after the shared ones.
    """
    sheets, scripts = [page_file("page.css"), style], []
    if CHART in body:
        sheets.insert(0, page_file("uPlot.min.css"))
        scripts = [f"<script>{page_file(name)}</script>\n" for name in ("uPlot.iife.min.js", "charts.js")]
    return Template(page_file("page.html")).substitute(
        title=escape(title), style="\n".join(sheets), body=body, scripts="".join(scripts)
    )


def figure_list(figures: Iterable[tuple[str, str, str]]) -> str:
    """A row of large figures: name, value (finished HTML) and a hint for each; four look best."""
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="value">{value}</dd><dd class="hint">{escape(hint)}</dd></div>'
        for name, value, hint in figures
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def html_table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of finished HTML cells in a frame that scrolls; a row comes with its class, and starts with its name."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for kind, (name, *cells) in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def verdict_list(verdicts: Iterable[tuple[str, str]]) -> str:
    """Verdicts in a word each, such as ``won`` or ``fail``, with what they are about."""
    items = (f'<li><b class="{escape(word)}">{escape(word)}</b>{escape(about)}</li>' for word, about in verdicts)
    return f'<ul class="verdicts">{"".join(items)}</ul>'
