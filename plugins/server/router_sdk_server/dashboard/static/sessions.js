/* The newest decisions, and one session from its beginning: each task, who got it, and what was said of it. */

import {
  brief,
  button,
  figure,
  gauge,
  h,
  heading,
  kind,
  long,
  moment,
  ms,
  number,
  put,
  reward,
  table,
  tag,
  usd,
  words,
} from "./dom.js";
import { get } from "./service.js";

/* Behind the page's name in an address: a session, and its tenant. */
export const MOST_BEHIND = 2;

const NEWEST = 30,
  WHOLE = 200;

export function open(place, { me, rest: [session = "", tenant = ""] }) {
  const body = h("div", {});
  const field = h("input", { id: "session", maxlength: "200", value: session });
  const whose = h("input", { id: "tenant", maxlength: "200", value: tenant });
  const find = (event) => {
    event.preventDefault();
    location.hash = address(field.value, whose.value);
  };
  put(
    place,
    heading(
      session ? `Session ${session}` : "Sessions",
      session ? null : "The newest decisions. A session leads to all of its own.",
    ),
    h(
      "form",
      { onsubmit: find, class: "inline" },
      h("span", {}, h("label", { for: "session" }, "Session"), field),
      me.tenant === null && h("span", {}, h("label", { for: "tenant" }, "Tenant"), whose),
      h("button", {}, "Show"),
    ),
    body,
  );

  async function load() {
    try {
      const asked = session ? { n: WHOLE, session_id: session, tenant } : { n: NEWEST, tenant };
      const { decisions } = await get("v1/decisions", asked);
      put(body, session ? whole(decisions.reverse()) : newest(decisions));
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
        ["When", "Task", "Type", "Agent", "Chosen by", number("Reward"), "Session"],
        decisions.map((one) => [
          moment(one.at),
          words(brief(one.task.text || "without a text")),
          kind(one.task.task_type),
          one.agent ?? "no agent fits",
          one.strategy,
          reward(one.reward),
          link(one.task),
        ]),
        "No decision was made yet: POST /v1/route makes one.",
      ),
    );

  load();
  return {};
}

const address = (session, tenant) =>
  `#/sessions/${[session, tenant].filter(Boolean).map(encodeURIComponent).join("/")}`;

function link({ session_id: session, tenant }) {
  return session ? h("a", { href: address(session, tenant), class: long(session) }, session) : null;
}

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
            one.task.task_type ? ` · ${kind(one.task.task_type)}` : "",
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
              ["Agent", number("Chance")],
              Object.entries(one.probabilities)
                .sort((a, b) => b[1] - a[1])
                .slice(0, 6)
                .map(([name, chance]) => [name, gauge(chance)]),
            ),
            table("What was said of it", ["When", "By", "What"], one.parts.map(said), "Nobody has said how it went."),
          ),
        ),
      ),
    ),
  );
}

/* How parts of an outcome are called and told, where they are not as they stand. */
const PARTS = { latency_ms: ["latency", ms], cost_usd: ["cost", usd], quality: ["quality", reward] };

function said({ position, at, origin, actor, ...rest }) {
  const told = Object.entries(rest).map(([name, value]) => {
    const [word, tell] = PARTS[name] ?? [name.replaceAll("_", " "), typeof value === "number" ? figure : plain];
    return `${word} ${tell(value)}`;
  });
  return [moment(at), [origin, actor].filter(Boolean).join(" ") || "—", words(told.join("; "))];
}

const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));
