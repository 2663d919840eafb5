/* What to do first, for a store in which nobody has done it yet: commands to copy. */

import { h, section } from "./dom.js";
import { signedIn } from "./service.js";

const STEPS = [
  [
    "Say who there is, at least two agents",
    "admin",
    ["-X PUT", "v1/agents/billing", { description: "invoices and refunds" }],
    ["-X PUT", "v1/agents/fraud", { description: "stolen cards" }],
  ],
  ["Ask who gets a task", "route", ["", "v1/route", { task: "I was charged twice" }]],
  [
    "Say how it went, with the decision_id that was answered: from that it learns",
    "record",
    ["", "v1/outcomes", { decision_id: "…", outcome: { success: true } }],
  ],
];

/* The steps, with a mark at those that were done; null where all of them were. */
export function firstSteps(agents, decisions, outcomes) {
  const done = [agents.length > 1 || decisions > 0, decisions > 0, outcomes > 0];
  if (done.every(Boolean)) return null;
  return section(
    "What to do first",
    signedIn() ? "$KEY stands for a key with the scope that a step names: router keys create NAME --scope SCOPE" : null,
    h(
      "ol",
      { class: "first-steps" },
      STEPS.map(([words, scope, ...commands], i) =>
        h(
          "li",
          { class: done[i] ? "done" : null },
          h("p", {}, words, signedIn() && !done[i] ? ` (scope ${scope})` : "", done[i] ? " ✓ done" : ""),
          done[i] ? null : h("pre", {}, h("code", {}, commands.map(command).join("\n"))),
        ),
      ),
    ),
  );
}

function command([verb, path, body]) {
  const key = signedIn() ? ' \\\n  -H "Authorization: Bearer $KEY"' : "";
  const curl = ["curl", verb, new URL(path, document.baseURI).href].filter(Boolean).join(" ");
  return `${curl}${key} \\\n  -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`;
}
