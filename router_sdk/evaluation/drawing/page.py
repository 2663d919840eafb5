"""A self-contained HTML page: one column, system fonts, figures that line up, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1c1b19; --soft: #5d5a54; --faint: #8b877f;
  --rule: #e6e2db; --grid: #ece9e3; --wash: #f3f1ec;
  --s0: #3b6fe0; --s1: #e08a3c; --s2: #2fa191; --s3: #b4559b; --s4: #c9a227; --s5: #6d7f96; --s6: #b8b3a8;
  --good: #0b7a4b; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131417; --card: #1a1c20; --ink: #eceae6; --soft: #b0aca4; --faint: #858179;
    --rule: #2d3036; --grid: #282b30; --wash: #212429;
    --s0: #5580dc; --s1: #cb8147; --s2: #3c9f90; --s3: #c071ac; --s4: #c7a63f; --s5: #7c8ea6; --s6: #66635c;
    --good: #5fcb97; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 -apple-system, BlinkMacSystemFont, "Segoe UI", Inter, Roboto, "Helvetica Neue", Arial, sans-serif;
  font-feature-settings: "kern", "liga"; -webkit-font-smoothing: antialiased; text-rendering: optimizeLegibility;
}
main { max-width: 1040px; margin: 0 auto; padding: 56px 24px 72px; }
.eyebrow { margin: 0 0 8px; color: var(--faint); font-size: 13px; letter-spacing: .02em; }
h1 {
  margin: 0 0 14px; font-size: 34px; line-height: 1.15;
  font-weight: 650; letter-spacing: -.022em; text-wrap: balance;
}
.lead { margin: 0 0 32px; max-width: 66ch; color: var(--soft); font-size: 18px; line-height: 1.5; text-wrap: pretty; }
h2 { margin: 0 0 2px; font-size: 17px; font-weight: 620; letter-spacing: -.01em; }
.sub { margin: 0 0 14px; color: var(--soft); font-size: 14px; max-width: 78ch; }
section {
  margin: 0 0 20px; padding: 24px 26px;
  background: var(--card); border: 1px solid var(--rule); border-radius: 12px;
}
.figures { display: grid; grid-template-columns: repeat(4, 1fr); margin: 0 0 20px; padding: 0;
  border: 1px solid var(--rule); border-radius: 12px; background: var(--card); }
.figures > div { padding: 18px 22px; border-left: 1px solid var(--rule); }
.figures > div:first-child { border-left: 0; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; }
dd.value {
  font-size: 28px; line-height: 1.25;
  font-weight: 620; letter-spacing: -.02em; font-variant-numeric: tabular-nums;
}
dd.value small { font-size: 15px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
dd.hint { color: var(--faint); font-size: 13px; line-height: 1.4; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
.scroll { overflow-x: auto; }
.s0 { --hue: var(--s0); } .s1 { --hue: var(--s1); } .s2 { --hue: var(--s2); } .s3 { --hue: var(--s3); }
.s4 { --hue: var(--s4); } .s5 { --hue: var(--s5); } .s6 { --hue: var(--s6); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-family: inherit; font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .tick { fill: var(--faint); font-size: 11.5px; }
svg .label { fill: var(--hue); font-size: 12.5px; font-weight: 600; }
svg .label.s6 { fill: var(--soft); }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--faint); stroke-width: 1; stroke-opacity: .6; }
.leader { stroke: var(--faint); stroke-opacity: .6; fill: none; }
.line { fill: none; stroke: var(--hue); stroke-width: 1.8; stroke-linejoin: round; }
.end { fill: var(--hue); }
table { width: 100%; border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 12px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.words { display: block; min-width: 18em; text-align: left; white-space: normal; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: 13px; font-weight: 500; vertical-align: bottom; }
tbody tr:last-child td { border-bottom: 0; }
td .key {
  display: inline-block; width: 14px; height: 3px; background: var(--hue);
  margin-right: 9px; border-radius: 2px; vertical-align: middle;
}
ul.verdicts { margin: 16px 0 0; padding: 0; list-style: none; font-size: 14.5px; }
ul.verdicts li { padding: 3px 0 3px 54px; position: relative; color: var(--soft); }
ul.verdicts b { position: absolute; left: 0; font-weight: 620; }
.notes p { margin: 8px 0 0; max-width: 92ch; color: var(--soft); font-size: 14px; }
@media (max-width: 760px) {
  main { padding: 32px 16px 48px; } h1 { font-size: 27px; } section { padding: 18px 16px; }
  .figures { grid-template-columns: 1fr 1fr; } .figures > div:nth-child(3) { border-left: 0; }
  .figures > div:nth-child(n + 3) { border-top: 1px solid var(--rule); }
  .pair { grid-template-columns: 1fr; gap: 0; } .scroll > svg { min-width: 640px; }
}
@media print { section, .figures { break-inside: avoid; } }
"""
"""The style that pages share. A class from ``s0`` to ``s6`` sets the colour of lines, bands, labels and keys."""


def html_page(title: str, style: str, body: str) -> str:
    """The whole document.

    Args:
        title: For the window.
        style: Rules of this page alone, after the shared ones.
        body: Finished HTML.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def figure_list(figures: Iterable[tuple[str, str, str]]) -> str:
    """A row of large figures: name, value (finished HTML) and a hint for each; four look best."""
    cells = (
        f'<div><dt>{escape(name)}</dt><dd class="value">{value}</dd><dd class="hint">{escape(hint)}</dd></div>'
        for name, value, hint in figures
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def html_table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of finished HTML cells; each row comes with its class."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for kind, cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
