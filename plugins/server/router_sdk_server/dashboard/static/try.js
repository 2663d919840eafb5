/* A task to try: who would get it, how sure that is, and on what it rests. Nothing is logged. */

import {
  agent,
  brief,
  figure,
  gauge,
  h,
  heading,
  number,
  put,
  range,
  reward,
  section,
  share,
  small,
  table,
  words,
} from "./dom.js";
import { post } from "./service.js";

export function open(place, { parts }) {
  const text = h("textarea", {
    id: "text",
    rows: "4",
    maxlength: "100000",
    placeholder: "I was charged twice for the same order",
  });
  const kind = h("input", { id: "kind", list: "kinds", maxlength: "200", placeholder: "any" });
  const kinds = h("datalist", { id: "kinds" });
  const features = h("input", { id: "features", placeholder: "amount=120 vip=true" });
  const found = h("div", { "aria-live": "polite" });

  async function ask(event) {
    event.preventDefault();
    try {
      const task = { text: text.value };
      if (kind.value) task.task_type = kind.value;
      const given = features.value.split(/\s+/).filter(Boolean);
      if (given.length) task.features = Object.fromEntries(given.map(feature));
      draw(await post("v1/preview", { task }));
    } catch (problem) {
      put(found, h("p", { class: "problem", role: "alert" }, problem.message));
    }
  }

  function draw(told) {
    const nobody = told.agent === null;
    const sure =
      told.confidence === null
        ? ""
        : `, and expects a reward of ${reward(told.confidence)}${told.calibrated ? " (calibrated)" : ""}`;
    put(
      found,
      section(
        nobody ? "No agent fits" : `${told.ranking[0]} is the favourite`,
        null,
        h(
          "p",
          {},
          `${told.strategy}${told.model_version === null ? "" : ` version ${told.model_version}`} answers${sure}.`,
          told.skipped.length
            ? ` Asked before it: ${told.skipped.map((one) => `${one.strategy} (${one.reason})`).join(", ")}.`
            : "",
        ),
        table(
          "Ranking",
          ["Agent", number("Chance to be drawn"), number("Expected")],
          told.ranking.map((name) => [
            name,
            gauge(told.probabilities[name]),
            expected(told.evidence, name),
          ]),
        ),
        Object.keys(told.excluded).length > 0 &&
          h(
            "p",
            { class: "sub" },
            `Not eligible: ${Object.entries(told.excluded)
              .map(([name, why]) => `${name} (${why})`)
              .join(", ")}.`,
          ),
      ),
      section(
        "Nearest examples",
        "What happened with tasks like it.",
        table(
          "Nearest examples",
          ["Task", "Agent", number("Similarity"), number("Went well")],
          told.nearest.map((one) => [
            words(brief(one.text ?? `decision ${one.decision_id}`)),
            agent(one.agent),
            reward(one.similarity),
            share(one.success),
          ]),
          "The strategy that answers names none.",
        ),
      ),
      h("section", {}, h("details", {}, h("summary", {}, "All of the evidence"), tree(told.evidence))),
    );
  }

  put(
    place,
    heading("Try a task", "Who would get it now, and why. Nothing is logged, and nothing learnt."),
    h(
      "section",
      {},
      h(
        "form",
        { onsubmit: ask, class: "try" },
        h("label", { for: "text" }, "Task"),
        text,
        h(
          "div",
          { class: "fields" },
          h("div", {}, h("label", { for: "kind" }, "Type"), kind, kinds),
          h("div", {}, h("label", { for: "features" }, "Features"), features),
        ),
        h(
          "p",
          { class: "actions" },
          h("button", { class: "first" }, "Who would get it?"),
          h("span", { class: "note" }, "Enter asks; Shift and Enter begin a new line."),
        ),
      ),
    ),
    found,
  );
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
  });

  return {
    heard(name) {
      if (name === "activity")
        put(
          kinds,
          Object.keys(parts.activity.by_task_type).map((one) => h("option", { value: one })),
        );
    },
  };
}

function feature(word) {
  const [name, ...rest] = word.split("=");
  const value = rest.join("=");
  if (!name || !rest.length) throw new Error(`Features: write name=value, got ${word}`);
  return [
    name,
    value === "true"
      ? true
      : value === "false"
        ? false
        : value !== "" && Number.isFinite(Number(value))
          ? Number(value)
          : value,
  ];
}

/* What a strategy's evidence says to expect of an agent, where it says so. */
function expected(evidence, name) {
  const mean = evidence.agents?.[name]?.mean ?? evidence.chances?.[name] ?? evidence.expected?.[name]?.quality;
  const [low, high] = evidence.agents?.[name]?.interval ?? [];
  return typeof mean !== "number" ? null : [reward(mean), " ", small(range({ low, high }))];
}

function tree(value) {
  if (value === null || typeof value !== "object")
    return typeof value === "number" ? figure(value) : String(value);
  const entries = Array.isArray(value) ? value.map((one, i) => [String(i + 1), one]) : Object.entries(value);
  return entries.length
    ? h(
        "dl",
        { class: "tree" },
        entries.map(([name, one]) => [h("dt", {}, name), h("dd", {}, tree(one))]),
      )
    : "—";
}
