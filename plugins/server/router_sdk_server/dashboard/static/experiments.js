/* Challengers beside what serves: how much better each is, as far as can be told at any time. */

import {
  count,
  counted,
  h,
  heading,
  moment,
  number,
  put,
  range,
  section,
  share,
  table,
  tag,
  words,
} from "./dom.js";
import { chart, shares, upTo } from "./figures.js";

const UNITS = [
  ["days", 24],
  ["hours", 1],
  ["minutes", 1 / 60],
  ["seconds", 1 / 3_600],
];
const KINDS = { challenger: "good", running: "warn", invalid: "bad" };
/* What an experiment is about is often smaller than a hundredth. */
const fine = (value) => `${value < 0 ? "−" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(3)}`;
/* A sequence is drawn from where it is no wider any more than so many times what it is in the end. */
const TOO_WIDE = 6;

export function open(place, { parts }) {
  const shown = h("div", {}),
    list = h("div", {}),
    arms = chart("Share of tasks by arm", share, "A curve is drawn from 17 tasks on."),
    traffic = section("Traffic by arm", "From the first tasks to the newest.", arms.figure);
  const curves = new Map();
  put(
    place,
    heading(
      "Experiments",
      "A challenger serves a part of the tasks beside what serves. The line is by how much it does better. The true difference lies, most likely, between the dashed lines, however often you look: once both lie on one side of 0, it is decided.",
    ),
    h(
      "p",
      { class: "sub" },
      "A unit is a session, or a task without one; it closes, and counts from then on, 24 hours after its first decision, or as outcome_window_hours says.",
    ),
    shown,
    traffic,
    section("All experiments", null, list),
  );

  function experiment(one) {
    const analysis = one.analysis;
    const head = section(
      one.name,
      null,
      h(
        "p",
        {},
        tag(one.status, KINDS[one.status]),
        " since ",
        moment(one.started_at),
        one.reason ? `: ${one.reason}` : analysis ? `: ${analysis.verdict.reason}` : "",
      ),
    );
    for (const comparison of analysis?.comparisons ?? []) {
      const key = `${one.name}/${comparison.arm}`;
      if (!curves.has(key)) curves.set(key, chart(`Difference of ${comparison.arm} over time`, fine, "A curve is drawn once a few units have closed."));
      const gap = comparison.difference;
      const between = gap.low === null ? null : range(gap, fine);
      const told =
        gap.low === null
          ? "nothing can be told yet"
          : `${fine(gap.mean)} reward per task, ${between ? `most likely ${between}` : "no interval yet"}`;
      head.append(h("h3", {}, `${comparison.arm} against ${analysis.arms[0].name}: ${told}`), curves.get(key).figure);
    }
    head.append(
      table(
        `Arms of ${one.name}`,
        ["Arm", ...["Share", "Decisions", "Units that count", "Weighted mean"].map(number)],
        one.arms.map((arm) => {
          const measured = analysis?.arms.find((each) => each.name === arm.name);
          return [
            arm.shadow ? [arm.name, " ", tag("shadow")] : arm.name,
            share(arm.share),
            count(arm.decisions),
            count(measured?.closed),
            measured?.closed ? measured.mean.mean.toFixed(3) : null,
          ];
        }),
      ),
    );
    const waits = (analysis?.comparisons ?? []).map((each) => each.remaining).filter(Boolean);
    if (waits.length)
      head.append(
        h(
          "p",
          { class: "sub" },
          waits.map(
            (wait) =>
              `About ${counted(wait.units, "more unit")}${wait.hours === null ? "" : `, ${counted(Math.ceil(wait.hours), "hour")}`}, at ${wait.assumption}. `,
          ),
        ),
      );
    return head;
  }

  function draw() {
    put(shown, parts.evidence.shown.map(experiment));
    for (const one of parts.evidence.shown) {
      for (const [arm, path] of Object.entries(one.sequences)) sequence(curves.get(`${one.name}/${arm}`), path);
    }
    put(
      list,
      table(
        "All experiments",
        ["Name", "Came to", "Began", "Ended", "Why"],
        parts.evidence.experiments.map((one) => [
          one.name,
          tag(one.status, KINDS[one.status]),
          moment(one.started_at),
          moment(one.ended_at),
          words(one.reason ?? "—"),
        ]),
        "None so far. router experiments start NAME, or POST /v1/experiments, begins one: a challenger gets a part of the tasks, and here you see how much better it does.",
      ),
    );
  }

  function sequence(curve, path) {
    const last = path.hours.length - 1;
    if (!curve || last < 0) return;
    const wide = (i) => path.high[i] - path.low[i] > TOO_WIDE * (path.high[last] - path.low[last]);
    let from = last;
    while (from > 0 && !wide(from - 1)) from -= 1;
    const part = (values) => values.slice(from);
    const [unit, hours] = UNITS.find(([, size]) => path.hours[last] >= 3 * size) ?? UNITS.at(-1);
    curve.update(
      unit,
      path.hours.slice(from).map((at) => at / hours),
      [
        { name: "highest", colour: "s5", dash: true, width: 1.2, values: part(path.high) },
        { name: "estimate", colour: "s0", width: 2.2, values: part(path.mean) },
        { name: "lowest", colour: "s5", dash: true, width: 1.2, values: part(path.low) },
        { name: "no difference", colour: "s6", width: 1, values: path.hours.slice(from).map(() => 0) },
      ],
      { unit: "difference" },
    );
  }

  function split() {
    const points = parts.activity.points.filter((point) => Object.keys(point.arms).length);
    traffic.hidden = points.length < 2;
    arms.update("tasks", upTo(points), shares(points, "arms"), { unit: "percent", stacked: true });
  }

  return { heard: (name) => (name === "evidence" ? draw() : name === "activity" ? split() : null) };
}
