/* Draws each <figure class="chart"> with uPlot, from the JSON that stands in it; also for pages that go on growing:
   charts.draw(figure, data) draws new data in place of the old. Colours are the style sheet's, light and dark. */
const charts = (() => {
  "use strict";
  const plots = new Map();
  const KEYS = "← and → read the values, Home and End go to the first and the last.";
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });
  /* A value in words; data drawn by a script may bring its own way to tell them. */
  const figure = (value, { unit, tell }) =>
    value == null
      ? "-"
      : tell
        ? tell(value)
        : unit === "percent"
          ? `${(100 * value).toFixed(1)}%`
          : value.toLocaleString("en", { maximumSignificantDigits: 4 });

  /* The series in the order in which they are drawn. Stacked ones lie on each other: the topmost, whose line is the sum
     of all, comes first, and those below are painted over it. */
  function layers(data) {
    if (!data.stacked) return data.series.map((one) => ({ ...one, line: one.values }));
    const sums = data.positions.map(() => 0);
    return data.series
      .map((one) => ({ ...one, line: one.values.map((value, i) => (sums[i] += value)) }))
      .reverse();
  }

  function range(data) {
    if (data.stacked || data.whole) return () => [0, 1];
    return (plot, low, high) => {
      if (low == null) return [0, 1];
      if (data.unit === "number") return uPlot.rangeNum(Math.min(low, 0), high, 0.1, true);
      const room = 0.15 * Math.max(0.05, high - low);
      if (data.unit === "difference") return [low - room, high + room];
      return [Math.max(0, low - room), Math.min(1, high + room)];
    };
  }

  /* A dashed line where each phase but the first starts, and the phase's name above where there is room. */
  function phases(plot, data) {
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.font = `600 ${FONT.replace("12px", `${12 * ratio}px`)}`;
    ctx.fillStyle = colour("soft");
    ctx.strokeStyle = colour(data.stacked ? "card" : "soft");
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.lineWidth = (data.stacked ? 2 : 1) * ratio;
    for (const [name, start, end] of data.phases) {
      const at = Math.max(bbox.left, plot.valToPos(start, "x", true));
      if (start > 0) {
        ctx.setLineDash(data.stacked ? [] : [3 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at, bbox.top + bbox.height);
        ctx.stroke();
      }
      if (ctx.measureText(name).width < plot.valToPos(end, "x", true) - at) ctx.fillText(name, at, bbox.top - 9 * ratio);
    }
    ctx.restore();
  }

  function axis(more) {
    return {
      stroke: colour("faint"), font: FONT, labelFont: FONT, labelSize: 20,
      grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 5 }, ...more,
    };
  }

  /* Whether new data can go into the plot that is there, with what was hidden in it and where its cursor stands. */
  function alike(old, data) {
    const form = ({ x, unit, stacked, height, series }) =>
      JSON.stringify([x, unit, stacked, height, series.map(({ values, ...rest }) => rest)]);
    return form(old) === form(data);
  }

  function renew(here, data) {
    const atEnd = here.at >= here.data.positions.length - 1;
    here.data = data;
    here.shown = layers(data);
    here.at = atEnd ? data.positions.length - 1 : Math.min(here.at, data.positions.length - 1);
    here.plot.setData([data.positions, ...here.shown.map((one) => one.line)]);
    if (!(here.plot.cursor.left >= 0)) here.rest();
  }

  function draw(element, data, afresh = false) {
    const old = plots.get(element);
    if (old && !afresh && alike(old.data, data)) return renew(old, data);
    old?.plot.destroy();
    const place = element.querySelector(".plot");
    const shown = layers(data);
    const here = { data, shown, at: data.positions.length - 1 };
    const series = shown.map((one, number) => ({
      label: one.name, width: data.stacked ? 0 : one.width, dash: one.dash ? [6, 4] : undefined,
      stroke: colour(one.colour), fill: data.stacked ? colour(one.colour) : undefined,
      paths: data.stacked ? uPlot.paths.stepped({ align: -1 }) : undefined, spanGaps: true,
      points: { show: () => !data.stacked && here.data.positions.length <= 30, size: 6, fill: colour(one.colour) },
      value: (plot, line, _, at) => figure(at == null ? null : here.shown[number].values[at], data),
    }));
    here.rest = () => here.plot.setLegend({ idx: here.data.positions.length - 1 });
    here.size = () => ({ width: place.clientWidth, height: data.height });
    here.plot = new uPlot(
      {
        ...here.size(), series: [{ label: data.x, value: (u, value) => (value == null ? "-" : count(value)) }, ...series],
        padding: [data.phases.length ? 26 : 12, 18, 0, 0],
        scales: { x: { time: false, range: (u, low, high) => [low, high > low ? high : low + 1] }, y: { range: range(data) } },
        axes: [
          axis({ size: 34, grid: { show: false }, label: data.x, values: (u, ticks) => ticks.map(count) }),
          axis({ size: 52, values: (u, ticks) => ticks.map((tick) => (data.unit === "percent" ? `${+(100 * tick).toFixed(1)}%` : count(tick))) }),
        ],
        legend: { markers: { fill: (u, number) => (number ? colour(shown[number - 1].colour) : "") } },
        cursor: { y: false, points: { show: !data.stacked } },
        hooks: { draw: [(u) => phases(u, here.data)], ready: [(u) => u.setLegend({ idx: data.positions.length - 1 })] },
      },
      [data.positions, ...shown.map((one) => one.line)],
      place,
    );
    here.plot.over.addEventListener("mouseleave", () => setTimeout(here.rest));
    plots.set(element, here);
    operable(element, here.plot, shown);
    if (!old) listen(element, place);
  }

  function listen(element, place) {
    place.addEventListener("keydown", (event) => event.target === place && walk(element, event));
    place.addEventListener("focus", () => (element.querySelector(".unseen").textContent ||= KEYS));
    const watch = new ResizeObserver(() => {
      const here = plots.get(element);
      if (element.isConnected) return here?.plot.setSize(here.size());
      watch.disconnect();
      here?.plot.destroy();
      plots.delete(element);
    });
    watch.observe(place);
  }

  /* Names in the legend switch their lines by keyboard, too; where there is but one line, it stays. */
  function operable(element, plot, shown) {
    if (shown.length < 2) return;
    element.querySelectorAll(".u-legend .u-series th").forEach((name, number) => {
      if (number === 0) return;
      name.tabIndex = 0;
      name.role = "button";
      name.ariaLabel = `Show ${name.textContent}`;
      name.ariaPressed = "true";
      name.addEventListener("click", () => setTimeout(() => (name.ariaPressed = String(plot.series[number].show))));
      name.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        name.click();
      });
    });
  }

  /* Arrows walk along the curve, and the values are read out. */
  function walk(element, event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const here = plots.get(element);
    if (!here || !(event.key in steps)) return;
    event.preventDefault();
    const { plot, data } = here;
    here.at = Math.min(data.positions.length - 1, Math.max(0, here.at + steps[event.key]));
    plot.setCursor({ left: plot.valToPos(data.positions[here.at], "x"), top: 0 });
    const said = data.series.map((one) => `${one.name} ${figure(one.values[here.at], data)}`);
    element.querySelector(".unseen").textContent = `${count(data.positions[here.at])} ${data.x}: ${said.join(", ")}`;
  }

  function start() {
    document.querySelectorAll("figure.chart").forEach((element) => {
      draw(element, JSON.parse(element.querySelector("script").textContent));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      plots.forEach(({ data }, element) => draw(element, data, true));
    });
  }

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
  return { draw };
})();
