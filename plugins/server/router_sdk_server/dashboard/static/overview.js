/* Who serves, why, does it help: the three answers, the curve that they rest on, and the agents. */

import {
  agent,
  count,
  figures,
  gauge,
  h,
  kind,
  ms,
  number,
  put,
  range,
  reward,
  section,
  share,
  signed,
  small,
  table,
  usd,
} from "./dom.js";
import { chart, shares, trailing, upTo } from "./figures.js";
import { firstSteps } from "./steps.js";

const QUESTIONS = { serves: "Who serves?", why: "Why?", helps: "Does it help?" };
/* A point of a curve is of 16 tasks; two points are drawn. */
const FIRST = 17;
const COLOURS = { yes: "good", no: "bad", falling: "bad" };

export function open(place, { parts }) {
  const cards = h("div", { class: "answers" });
  const numbers = h("div", {});
  const steps = h("div", {});
  const learning = chart(
    "Reward per task over time",
    reward,
    `A curve is drawn from ${FIRST} tasks on, once outcomes of them are known.`,
  );
  const traffic = chart("Share of tasks by agent", share, `A curve is drawn from ${FIRST} tasks on.`);
  const agents = h("div", {}),
    kinds = h("div", {});
  const rest = h(
    "div",
    { hidden: true },
    numbers,
    section(
      "Is it learning?",
      "Reward per task, 0 to 1, each point with the few before it. Dashed: what the best single agent would have earned on all tasks, where the log can tell.",
      learning.figure,
    ),
    section("Who gets the tasks", "Share of tasks by agent, from the first tasks to the newest.", traffic.figure),
    section(
      "Agents",
      "Over the newest tasks. Regret is what was missed per task against the agent that earns most on its type of task; below 0 the router does better than that.",
      agents,
    ),
    section("Types of task", null, kinds),
  );
  put(
    place,
    h("h1", { class: "unseen" }, "Overview"),
    cards,
    steps,
    rest,
  );

  const draw = {
    answers() {
      put(
        cards,
        Object.entries(QUESTIONS).map(([key, question]) => {
          const one = parts.answers[key];
          return h(
            "section",
            { class: `answer ${COLOURS[one.verdict] ?? ""}`, "data-verdict": one.verdict },
            h("h2", {}, question),
            h("p", { class: "headline" }, one.headline),
            h("p", {}, one.text),
          );
        }),
      );
    },
    activity() {
      const { points, lately, by_agent: byAgent, by_task_type: byType, decisions } = parts.activity;
      put(steps, parts.state && firstSteps(parts.state.agents.all, decisions, lately.rewarded));
      rest.hidden = !decisions;
      put(
        numbers,
        figures([
          ["Tasks", count(decisions), pace(points)],
          ["Reward per task", reward(lately.reward), `of the newest ${count(lately.rewarded)} with an outcome`],
          ["Regret per task", signed(lately.regret), "against the best agent by type"],
          saved() ?? cost(lately, byAgent),
        ]),
      );
      curve();
      traffic.update("tasks", upTo(points), shares(points, "agents", agent), { unit: "percent", stacked: true });
      const whole = Object.values(lately.agents).reduce((sum, n) => sum + n, 0) || 1;
      const names = [...new Set([...Object.keys(byAgent), ...Object.keys(lately.agents)])];
      const cells = (one) => [
        one ? [reward(one.reward), " ", small(range(one))] : null,
        signed(one?.regret),
        ms(one?.latency_ms),
        usd(one?.cost_usd),
      ];
      put(
        agents,
        table(
          "Agents",
          ["Agent", ...["Tasks", "Share", "Reward", "Regret", "Latency", "Cost"].map(number)],
          names.map((name) => {
            const n = lately.agents[name] ?? 0;
            return [agent(name), count(n), gauge(n / whole), ...cells(byAgent[name])];
          }),
          "No task was routed yet.",
        ),
      );
      put(
        kinds,
        table(
          "Types of task",
          ["Type", "Best agent", ...["Outcomes", "It earns", "Reward", "Regret", "Latency", "Cost"].map(number)],
          Object.entries(byType).map(([name, one]) => [
            kind(name),
            one.best === null ? "not told apart" : agent(one.best),
            count(one.outcomes),
            reward(one.best_mean),
            ...cells(one),
          ]),
          "No outcome is known yet.",
        ),
      );
    },
    evidence: curve,
    state: () => parts.activity && draw.activity(),
  };

  function saved() {
    const one = parts.state?.statistics.savings?.best_single;
    if (one?.saved_usd == null) return null;
    const less = one.saved_usd >= 0;
    const [low, high] = less ? one.saved_usd_interval : one.saved_usd_interval.map((value) => -value).reverse();
    const between = range({ low, high }, usd);
    const against = `${one.agent} alone: ${usd(one.baseline_usd)}`;
    return [less ? "Saved" : "Spent more", usd(Math.abs(one.saved_usd)), between ? `${between}; ${against}` : against];
  }

  function curve() {
    if (!parts.activity) return;
    const { points } = parts.activity;
    const told = points.map((point) => ({ ...point }));
    const lines = [
      {
        name: "router",
        colour: "s0",
        width: 2.4,
        values: trailing(
          told,
          (one) => one.reward,
          (one) => one.rewarded,
        ),
      },
    ];
    const best = parts.evidence?.alone.find((one) => one.insufficient === null);
    if (best)
      lines.unshift({ name: `${best.agent} alone`, colour: "s1", dash: true, values: points.map(() => best.mean) });
    learning.update("tasks", upTo(points), lines, { whole: true });
  }

  return { heard: (name) => draw[name]?.() };
}

function pace(points) {
  const [first, last] = [points.at(-4) ?? points[0], points.at(-1)];
  if (!last) return "none yet";
  const quiet = Date.now() / 1_000 - last.at;
  if (quiet > 300)
    return `none for ${quiet > 7_200 ? `${Math.round(quiet / 3_600)} hours` : `${Math.round(quiet / 60)} minutes`}`;
  const among = points.slice(points.indexOf(first) + 1).reduce((sum, point) => sum + point.decisions, 0);
  const minutes = (last.at - first.at) / 60;
  return minutes > 0 ? `${count(Math.round(among / minutes))} a minute` : "just now";
}

/* What a task costs, beside what it costs where the agent that earns most is asked; else how long it takes. */
function cost(lately, byAgent) {
  const ranked = Object.entries(byAgent)
    .filter(([name, one]) => name && one.rewarded)
    .sort((a, b) => b[1].posterior - a[1].posterior);
  const [name, best] = ranked[0] ?? [];
  if (lately.cost_usd != null && best?.cost_usd != null)
    return ["Cost per task", usd(lately.cost_usd), `${name} costs ${usd(best.cost_usd)}`];
  return lately.latency_ms == null ? null : ["Latency", ms(lately.latency_ms), "mean of the newest tasks"];
}
