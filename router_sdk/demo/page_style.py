"""What the demonstration's page adds to the shared style: the contenders' colours, phases and bands."""

STYLE = """
:root { --router: #1f56d8; --heuristic: #c2611a; --single: #0f8577; --oracle: #6f6a62; --random: #a9a49a; }
@media (prefers-color-scheme: dark) {
  :root { --router: #7ea6ff; --heuristic: #f0a064; --single: #53c6b4; --oracle: #b5b0a7; --random: #7b7870; }
}
.router { --hue: var(--router); } .heuristic { --hue: var(--heuristic); } .single { --hue: var(--single); }
.oracle { --hue: var(--oracle); } .random { --hue: var(--random); }
svg .label.random { fill: var(--faint); }
.line.router { stroke-width: 3; }
.line.oracle { stroke-dasharray: 6 4; }
.line.random { stroke-width: 1.4; }
svg .phase-name { fill: var(--soft); font-size: 12px; font-weight: 600; }
.grid.over { stroke: var(--card); stroke-opacity: .35; }
.phase { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.band { fill: var(--hue); stroke: var(--card); stroke-width: .8; }
.band ~ .phase { stroke: var(--card); stroke-width: 2; stroke-dasharray: none; }
tr.router td { font-weight: 650; background: var(--wash); }
tr.router td:first-child { box-shadow: -10px 0 0 var(--wash); }
tr.router td:last-child { box-shadow: 10px 0 0 var(--wash); }
ul.verdicts .won { color: var(--good); }
ul.verdicts .lost { color: var(--bad); }
ul.verdicts .even { color: var(--faint); }
"""
