"""Pages for people: one style, one charting script, nothing loaded from outside.

Charts are drawn with uPlot 1.6.32 (MIT, see ``uPlot.LICENSE``), vendored unchanged from the npm package ``uplot``.
"""
