/* Which version of each strategy serves, since when and why; and the means to change that. */

import { button, count, counted, h, heading, moment, put, section, share, table, tag, words } from "./dom.js";
import { post } from "./service.js";

const FITS = { succeeded: "good", refused: "bad", failed: "bad" };

export function open(place, { parts, allowed }) {
  const body = h("div", {}),
    said = h("p", { class: "said", role: "status" });
  put(
    place,
    heading(
      "Versions",
      "A strategy that was fitted serves only once it has passed the checks, and anything that serves can be rolled back.",
    ),
    allowed("admin")
      ? null
      : h("p", { class: "note" }, "Your key may look; to change what serves it takes the scope admin."),
    said,
    body,
  );

  async function change(name, ask, path, body) {
    const answer = await confirm(name, ask);
    if (answer === null) return;
    try {
      await post(path, body(answer));
      said.className = "said good";
      said.textContent = `${name}: done.`;
    } catch (problem) {
      said.className = "said bad";
      said.textContent = `${name}: ${problem.message}`;
    }
  }

  function strategy(one) {
    const state = parts.state,
      name = one.name,
      path = `v1/models/${encodeURIComponent(name)}`;
    const versions = state.versions.filter((version) => version.strategy === name).reverse();
    const history = state.history[name],
      serves = history[0],
      model = state.models.find((each) => each.strategy === name);
    const admin = allowed("admin");
    const now = serves
      ? [
          h("b", {}, one.model_version === null ? "Unfitted" : `Version ${one.model_version}`),
          " serves since ",
          moment(serves.at),
          `: ${model?.serving?.why ?? serves.reason}. `,
        ]
      : model
        ? [h("b", {}, "Unfitted"), ", for nothing was ever promoted. "]
        : "It has no versions: it serves as it is, and learns from outcomes where it can. ";
    const fit = state.fit?.strategy === name && ["waiting", "running"].includes(state.fit.state) ? state.fit : null;
    return section(
      name,
      null,
      h("p", {}, now, one.pinned ? tag("pinned", "warn") : null),
      fit &&
        h(
          "p",
          {},
          `A fit is ${fit.state}: ${fit.words} `,
          h("progress", { max: "1", value: fit.share, "aria-label": `Fit of ${name}` }),
          ` ${share(fit.share)}`,
        ),
      model && fit === null && h("p", { class: "sub" }, nextFit(model.triggers)),
      admin &&
        model &&
        h(
          "p",
          { class: "actions" },
          serves &&
            serves.version !== null &&
            button(
              "Roll back",
              () =>
                change(
                  `Roll back ${name}`,
                  {
                    words: `What served when version ${serves.version} first came, ${before(history, serves.version)}, serves again, and stays until a person says otherwise.`,
                  },
                  `${path}/rollback`,
                  () => ({}),
                ),
              { "data-key": `${name}-back` },
            ),
          one.pinned
            ? button(
                "Unpin",
                () =>
                  change(
                    `Unpin ${name}`,
                    { words: "Fits that pass the checks may replace what serves again." },
                    `${path}/unpin`,
                    () => ({}),
                  ),
                { "data-key": `${name}-pin` },
              )
            : button(
                "Pin",
                () =>
                  change(
                    `Pin ${name}`,
                    { words: "What serves stays, whatever fits come to." },
                    `${path}/pin`,
                    () => ({}),
                  ),
                { "data-key": `${name}-pin` },
              ),
          button(
            "Fit now",
            () =>
              change(
                `Fit ${name}`,
                {
                  words: "A new version is fitted beside what serves; it serves once it has passed the checks.",
                  reason: true,
                },
                "v1/retrain",
                ({ reason }) => ({ strategy: name, reason }),
              ),
            { "data-key": `${name}-fit` },
          ),
        ),
      model &&
        table(
          `Versions of ${name}`,
          ["Version", "Made", "From", "Checks", "Status", "Why", ""],
          versions.map((version) => [
            count(version.version),
            moment(version.at),
            `${version.kind}, ${counted(version.samples, "example")}`,
            tag(version.passed ? "passed" : "refused", version.passed ? "good" : "bad"),
            [
              version.status,
              ...version.aliases.filter((alias) => alias !== "champion").map((alias) => tag(alias, "warn")),
            ],
            words(version.why),
            admin && version.status !== "archived" && version.version !== one.model_version
              ? button(
                  "Promote",
                  () =>
                    change(
                      `Promote ${name} version ${version.version}`,
                      {
                        words: "It serves between two requests from now on, and stays until a person says otherwise.",
                        reason: true,
                        force: !version.passed,
                      },
                      `${path}/${version.version}/promote`,
                      ({ reason, force }) => ({ reason, force }),
                    ),
                  {
                    "data-key": `${name}-${version.version}`,
                    "aria-label": `Promote ${name} version ${version.version}`,
                  },
                )
              : "",
          ]),
          admin
            ? "No version was fitted yet. Fit now makes the first one, once there are outcomes to learn from."
            : "No version was fitted yet. A key with the scope admin begins a fit here.",
        ),
      history.length > 0 &&
        h(
          "details",
          {},
          h("summary", {}, "What served when"),
          table(
            `History of ${name}`,
            ["When", "Served", "By", "Why"],
            history.map((entry) => [
              moment(entry.at),
              entry.version === null ? "unfitted" : `version ${entry.version}`,
              words(entry.actor ?? "—"),
              words(entry.reason),
            ]),
          ),
        ),
      model &&
        state.fits[name].length > 0 &&
        h(
          "details",
          {},
          h("summary", {}, "Fits that ended"),
          table(
            `Fits of ${name}`,
            ["When", "Came to", "Begun because", "Error"],
            state.fits[name].map((one) => [
              moment(one.at),
              tag(one.status, FITS[one.status]),
              words(one.reason ?? "—"),
              words(one.error ?? "—"),
            ]),
          ),
        ),
    );
  }

  function draw() {
    const open = new Set([...body.querySelectorAll("details[open]")].map((one) => one.dataset.of));
    put(body, parts.state.strategies.map(strategy));
    body.querySelectorAll("details").forEach((one, place) => {
      one.dataset.of = String(place);
      one.open = open.has(one.dataset.of);
    });
  }

  return { heard: (name) => name === "state" && draw() };
}

function nextFit(triggers) {
  if (triggers.waits) return `The next fit waits: ${triggers.waits}.`;
  if (triggers.due) return `A fit is due: ${triggers.due}.`;
  const next = triggers.readings.find((one) => one.trigger === triggers.next);
  return next ? `Next fit: ${next.reason}.` : "No trigger begins a fit by itself.";
}

/* What served when a version first came, as far as the newest history tells. */
function before(history, number) {
  const served = [...history].reverse().map((entry) => entry.version);
  const place = served.indexOf(number);
  return place > 0
    ? served[place - 1] === null
      ? "the strategy unfitted"
      : `version ${served[place - 1]}`
    : "or the strategy unfitted";
}

/* Asks before something is changed; null where the answer is no, else the reason and whether to do it by force. */
function confirm(title, { words: about, reason: asked = false, force: forced = false }) {
  return new Promise((done) => {
    const reason = h("input", { id: "reason", value: "by hand", maxlength: "1000", required: true });
    const force = h("input", { id: "force", type: "checkbox" });
    const go = (event) => {
      event.preventDefault();
      dialog.close("yes");
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "asked" },
      h(
        "form",
        { onsubmit: go },
        h("h2", { id: "asked" }, `${title}?`),
        h("p", {}, about),
        asked && [h("label", { for: "reason" }, "Why, for the history"), reason],
        forced && h("p", {}, force, " ", h("label", { for: "force" }, "Although the checks refused it")),
        h(
          "p",
          { class: "actions" },
          h("button", { class: "first" }, "Yes"),
          button("No", () => dialog.close()),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "yes" ? { reason: reason.value, force: force.checked } : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
