/* A task to try: who would get it, how sure that is, and on what it rests. Nothing is logged. */

import { agent, bar, button, h, heading, put, reward, section, share, table, words } from "./dom.js";
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
        : ` ${told.strategy} expects a reward of ${reward(told.confidence)}${told.calibrated ? ", calibrated" : ""}.`;
    put(
      found,
      section(
        nobody ? "No agent fits" : `${told.ranking[0]} is the favourite`,
        null,
        h(
          "p",
          {},
          `${told.strategy}${told.model_version === null ? "" : ` version ${told.model_version}`} answers.${sure}`,
          told.skipped.length
            ? ` Asked before it: ${told.skipped.map((one) => `${one.strategy} (${one.reason})`).join(", ")}.`
            : "",
        ),
        table(
          "Ranking",
          ["Agent", "Chance to be drawn", "Expected"],
          told.ranking.map((name) => [
            name,
            [bar(told.probabilities[name]), share(told.probabilities[name])],
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
          ["Similarity", "Task", "Agent", "Went"],
          told.nearest.map((one) => [
            one.similarity?.toFixed(2),
            words(one.text ?? `decision ${one.decision_id}`),
            agent(one.agent),
            one.success === undefined ? null : share(one.success),
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
        h("button", { class: "first" }, "Who would get it?"),
      ),
    ),
    found,
  );
  text.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && ask(event));

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
  const range = evidence.agents?.[name]?.interval;
  return typeof mean !== "number"
    ? null
    : [reward(mean), range ? h("small", {}, ` ${reward(range[0])} to ${reward(range[1])}`) : null];
}

function tree(value) {
  if (value === null || typeof value !== "object")
    return typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : String(value);
  const entries = Array.isArray(value) ? value.map((one, i) => [String(i + 1), one]) : Object.entries(value);
  return entries.length
    ? h(
        "dl",
        { class: "tree" },
        entries.map(([name, one]) => [h("dt", {}, name), h("dd", {}, tree(one))]),
      )
    : "—";
}
