/* Decisions whose outcome would teach most: who would have been right? One key an agent. */

import { button, count, h, heading, kind, moment, put, section, share, table } from "./dom.js";
import { get, post } from "./service.js";

const KEYS = "123456789acdefghijklmopqrtuvwxyz"; // b, n and s go back, say that nobody fits, and skip
const BATCH = 20;

export function open(place, { me }) {
  const card = h("div", {}),
    said = h("p", { class: "said", role: "status" });
  const byKey = h("input", { id: "bykey", type: "checkbox", checked: true });
  let asked = [],
    at = 0,
    done = 0;
  const answered = new Map();

  put(
    place,
    heading("Label", "The decisions whose outcome would teach the router most. Who would have been right?"),
    h("p", { class: "sub" }, byKey, " ", h("label", { for: "bykey" }, "Answer by single keys")),
    said,
    card,
  );

  async function load() {
    try {
      const known = new Set(asked.slice(0, at).map((one) => one.decision_id));
      const { decisions } = await get("v1/ask", { n: BATCH });
      asked = [...asked.slice(0, at), ...decisions.filter((one) => !known.has(one.decision_id))];
      draw();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  }

  function tell(words, kind = "") {
    said.className = `said ${kind}`;
    said.textContent = words;
  }

  async function answer(agent) {
    const one = asked[at];
    if (!one) return;
    const outcome = agent === null ? { no_agent_fits: true } : { correct_agent: agent };
    try {
      await post("v1/outcomes", { decision_id: one.decision_id, outcome });
      done += 1;
      answered.set(one.decision_id, agent);
      tell(`Recorded: ${agent ?? "no agent fits"}. ${count(done)} so far.`, "good");
      at += 1;
      await more();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  }

  async function more() {
    if (at >= asked.length) return load();
    draw();
  }

  const back = () => at > 0 && ((at -= 1), draw());
  const skip = () => at < asked.length && ((at += 1), more());

  function draw() {
    const one = asked[at];
    if (!one) {
      return put(
        card,
        section(
          "Nothing to ask about",
          null,
          h(
            "p",
            {},
            done ? `You labelled ${count(done)}. ` : "",
            "Every recent decision has an outcome, or none was made: POST /v1/route makes one.",
          ),
          button("Look again", load, { "data-key": "again" }),
        ),
      );
    }
    const names = Object.keys(one.probabilities),
      task = one.task,
      before = answered.get(one.decision_id);
    const key = (i) => (i < KEYS.length ? KEYS[i] : null);
    const choice = (name, letter, words) =>
      h(
        "li",
        {},
        button([letter ? h("kbd", {}, letter) : null, ` ${words}`], () => answer(name), {
          "data-key": `choice ${letter ?? words}`,
          "aria-keyshortcuts": letter,
          "aria-pressed": answered.has(one.decision_id) ? String(before === name) : null,
        }),
      );
    put(
      card,
      h(
        "section",
        { class: "question" },
        h(
          "p",
          { class: "eyebrow" },
          `${count(at + 1)} of ${count(asked.length)} · `,
          moment(one.at),
          task.task_type ? ` · ${kind(task.task_type)}` : "",
          ` · it went to ${one.agent ?? "nobody"}, with ${share(one.probabilities[one.agent])}`,
        ),
        h("h2", { class: "task", tabindex: "-1" }, task.text || "A task without a text"),
        task.features &&
          table(
            "Features",
            ["Feature", "Value"],
            Object.entries(task.features).map(([name, value]) => [name, String(value)]),
          ),
        h(
          "ul",
          { class: "choices", "aria-label": "Who would have been right?" },
          names.map((name, i) => choice(name, key(i), name)),
          choice(null, "n", "no agent fits"),
        ),
        h(
          "p",
          { class: "actions" },
          button([h("kbd", {}, "s"), " Skip"], skip, { "data-key": "skip", "aria-keyshortcuts": "s" }),
          button([h("kbd", {}, "b"), " Back"], back, {
            "data-key": "back",
            "aria-keyshortcuts": "b",
            disabled: at === 0,
          }),
        ),
      ),
    );
  }

  function pressed(event) {
    if (
      !byKey.checked ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.repeat ||
      event.target.matches("textarea, input:not([type=checkbox]), select")
    )
      return;
    const names = asked[at] ? Object.keys(asked[at].probabilities) : [],
      place = KEYS.indexOf(event.key);
    const act =
      event.key === "s"
        ? skip
        : event.key === "b"
          ? back
          : event.key === "n"
            ? () => answer(null)
            : place >= 0 && place < names.length
              ? () => answer(names[place])
              : null;
    if (!act) return;
    event.preventDefault();
    act();
  }

  document.addEventListener("keydown", pressed);
  load();
  return { close: () => document.removeEventListener("keydown", pressed) };
}
