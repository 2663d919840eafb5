/* Charts that grow: the house's charting script, with the values as a table for who cannot see them. */

import { count, h, number, put, table } from "./dom.js";

const ROWS = 12;

/* A chart whose values are told as `tell` words them, also in its table; while there is nothing to draw, `none` says
   from when on there is. */
export function chart(title, tell, none) {
  const plot = h("div", {
    class: "plot",
    role: "application",
    "aria-roledescription": "chart",
    tabindex: "0",
    "aria-label": `${title}: a chart; arrow keys read its values out, and the table below holds them`,
  });
  const values = h("div", {});
  let data = null;
  const details = h("details", { ontoggle: list }, h("summary", {}, "Values as a table"), values);
  const figure = h("figure", { class: "chart", hidden: true }, plot, h("p", { class: "unseen", "aria-live": "polite" }), details);
  const waits = h("p", { class: "none" }, none);

  function list() {
    if (!details.open || !data) return;
    const last = data.positions.length - 1;
    const shown = [...new Set(Array.from({ length: ROWS }, (_, i) => Math.round((last * i) / (ROWS - 1))))];
    const told = (value) => (value == null ? "—" : tell(value));
    const rows = shown.map((i) => [count(data.positions[i]), ...data.series.map((one) => told(one.values[i]))]);
    put(values, table(title, [data.x, ...data.series.map((one) => one.name)].map(number), rows));
  }

  return {
    figure: h("div", {}, figure, waits),
    update(x, positions, series, more = {}) {
      figure.hidden = positions.length < 2 || series.every((one) => one.values.every((value) => value == null));
      waits.hidden = !figure.hidden;
      if (figure.hidden || !figure.isConnected) return;
      const lines = series.map((one) => ({ width: 1.8, dash: false, ...one }));
      data = { x, positions, series: lines, unit: "unit", stacked: false, phases: [], height: 240, tell, ...more };
      charts.draw(figure, data);
      list();
    },
  };
}

/* Shares of each name at each point, the largest as colours of their own, the rest together. */
export function shares(points, of, name = (one) => one) {
  const totals = new Map();
  for (const point of points)
    for (const [key, n] of Object.entries(point[of])) totals.set(key, (totals.get(key) ?? 0) + n);
  const ranked = [...totals].sort((a, b) => b[1] - a[1]).map(([key]) => key);
  const alone = ranked.slice(0, 6),
    rest = ranked.slice(6);
  const whole = (point) => Object.values(point[of]).reduce((sum, n) => sum + n, 0) || 1;
  const series = alone.map((key, i) => ({
    name: name(key),
    colour: `s${i}`,
    values: points.map((point) => (point[of][key] ?? 0) / whole(point)),
  }));
  if (rest.length) {
    const together = (point) => rest.reduce((sum, key) => sum + (point[of][key] ?? 0), 0);
    series.push({
      name: `${rest.length} more`,
      colour: "s6",
      values: points.map((point) => together(point) / whole(point)),
    });
  }
  return series;
}

/* Each value with those before it, weighted: what one point of few tasks says is mostly chance. */
export function trailing(points, value, weight, most = 6) {
  return points.map((_, i) => {
    let total = 0,
      mass = 0;
    for (const point of points.slice(Math.max(0, i - most + 1), i + 1)) {
      if (value(point) == null) continue;
      total += value(point) * weight(point);
      mass += weight(point);
    }
    return mass ? total / mass : null;
  });
}

/* How many tasks there were up to each point. */
export const upTo = (points) => {
  let sum = 0;
  return points.map((point) => (sum += point.decisions));
};
