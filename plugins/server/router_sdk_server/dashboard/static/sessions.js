/* The newest decisions, and one session from its beginning: each task, who got it, and what was said of it. */

import { bar, button, h, heading, moment, put, reward, share, table, tag, words } from "./dom.js";
import { get } from "./service.js";

const NEWEST = 30,
  WHOLE = 200;

export function open(place, { argument }) {
  const body = h("div", {});
  const field = h("input", { id: "session", maxlength: "200", value: argument });
  const find = (event) => {
    event.preventDefault();
    location.hash = `#/sessions/${encodeURIComponent(field.value)}`;
  };
  put(
    place,
    heading(
      argument ? `Session ${argument}` : "Sessions",
      argument ? null : "The newest decisions. A session leads to all of its own.",
    ),
    h(
      "form",
      { onsubmit: find, class: "inline" },
      h("label", { for: "session" }, "Session"),
      field,
      h("button", {}, "Show"),
    ),
    body,
  );

  async function load() {
    try {
      const [session, tenant] = argument.split("\u0000");
      const { decisions } = await get(
        "v1/decisions",
        argument ? { n: WHOLE, session_id: session, tenant } : { n: NEWEST },
      );
      put(body, argument ? whole(decisions.reverse()) : newest(decisions));
    } catch (problem) {
      put(body, h("p", { class: "problem", role: "alert" }, problem.message));
    }
  }

  const newest = (decisions) =>
    h(
      "section",
      {},
      button("Look again", load, { "data-key": "again" }),
      table(
        "Newest decisions",
        ["When", "Task", "Type", "Agent", "Chosen by", "Reward", "Session"],
        decisions.map((one) => [
          moment(one.at),
          words(short(one.task.text)),
          one.task.task_type,
          one.agent ?? "no agent fits",
          one.strategy,
          reward(one.reward),
          link(one.task),
        ]),
        "No decision was made yet.",
      ),
    );

  load();
  return {};
}

function link({ session_id: session, tenant }) {
  if (!session) return null;
  return h("a", { href: `#/sessions/${encodeURIComponent(tenant ? `${session}\u0000${tenant}` : session)}` }, session);
}

const short = (text) => (!text ? "without a text" : text.length > 120 ? `${text.slice(0, 120)}…` : text);

function whole(decisions) {
  if (!decisions.length) return h("p", { class: "none" }, "No such session is in the log.");
  return h(
    "ol",
    { class: "steps" },
    decisions.map((one) =>
      h(
        "li",
        {},
        h(
          "section",
          {},
          h(
            "p",
            { class: "eyebrow" },
            moment(one.at),
            one.task.task_type ? ` · ${one.task.task_type}` : "",
            one.explored ? " · explored" : "",
          ),
          h("h2", { class: "task" }, one.task.text || "A task without a text"),
          h(
            "p",
            {},
            h("b", {}, one.agent ?? "No agent fits"),
            `, chosen by ${one.strategy}`,
            one.model_version === null ? "" : ` version ${one.model_version}`,
            one.confidence === null ? "" : `, which expected ${reward(one.confidence)}`,
            ". ",
            one.skipped.length
              ? `Asked before it: ${one.skipped.map((step) => `${step.strategy} (${step.reason})`).join(", ")}. `
              : "",
            one.reward === null
              ? tag("no outcome yet")
              : tag(`reward ${reward(one.reward)}`, one.reward >= 0.5 ? "good" : "bad"),
          ),
          h(
            "div",
            { class: "pair" },
            table(
              "Chances",
              ["Agent", "Chance"],
              Object.entries(one.probabilities)
                .sort((a, b) => b[1] - a[1])
                .slice(0, 6)
                .map(([name, chance]) => [name, [bar(chance), share(chance)]]),
            ),
            table("What was said of it", ["When", "By", "What"], one.parts.map(said), "Nobody has said how it went."),
          ),
        ),
      ),
    ),
  );
}

function said({ position, at, origin, actor, ...rest }) {
  const told = Object.entries(rest).map(
    ([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`,
  );
  return [moment(at), [origin, actor].filter(Boolean).join(" ") || "—", words(told.join("; "))];
}
