/* Is all as it was: alerts, drift, how far learning is behind, and what was refused. */

import { agent, count, figures, h, heading, moment, put, section, share, signed, table, tag, words } from "./dom.js";

const DRIFT = [
  ["prediction_drift", "Choices", "whom the router favours"],
  ["input_drift", "Tasks", "what is asked"],
  ["residual_change", "Agents", "how well agents do, against what was expected"],
];

export function open(place, { parts }) {
  const body = h("div", {}),
    numbers = h("div", {});
  put(
    place,
    heading(
      "Health",
      "Whether tasks, choices and agents are what they were, whether all is learnt, and what was refused.",
    ),
    numbers,
    body,
  );

  function top() {
    const { state, activity } = parts;
    if (!state || !activity) return;
    const { backlog } = activity,
      { learner, store, alerts } = state;
    put(
      numbers,
      figures([
        [
          "Alerts",
          count(alerts.length),
          alerts.length ? "figures beyond their threshold" : "no figure is beyond its threshold",
        ],
        ["Not learnt yet", count(backlog.lag), `events of ${count(store.outcomes + store.decisions)} in the log`],
        [
          "Waiting for the disk",
          count(backlog.waiting),
          backlog.unlogged ? `${count(backlog.unlogged)} decisions were never logged` : "nothing was lost",
        ],
        [
          "Dead letters",
          count(store.dead_letters),
          learner.broken.length ? `${learner.broken.join(", ")} cannot go on` : "every strategy learns",
        ],
      ]),
    );
  }

  function draw() {
    const {
      drift,
      alerts,
      dead_letters: letters,
      agents,
      quarantines,
      canary,
      learning_events: events,
      streams,
    } = parts.state;
    put(
      body,
      section(
        "Alerts",
        null,
        table(
          "Alerts",
          ["What", "Value", "Threshold", "Since"],
          alerts.map((one) => [
            words(one.words),
            one.value.toPrecision(3),
            one.threshold.toPrecision(3),
            moment(one.since),
          ]),
          "None.",
        ),
      ),
      section(
        "Drift",
        "Windows of the newest tasks against those before.",
        h(
          "ul",
          { class: "verdicts" },
          DRIFT.map(([key, name, about]) =>
            h(
              "li",
              {},
              h("b", { class: drift[key] ? "lost" : "won" }, drift[key] ? "changed" : "steady"),
              `${name}: ${about}`,
            ),
          ),
        ),
        table(
          "Agents against what was expected of them",
          ["Agent", "Now", "Against expected", "Trend", "Failures", "Outcomes"],
          Object.entries(drift.agents).map(([name, one]) => [
            agent(name),
            agents.available.includes(name)
              ? tag(one.changed ? `changed: ${one.direction ?? "otherwise"}` : "steady", one.changed ? "bad" : "good")
              : tag("gets no traffic", "warn"),
            signed(one.residual),
            one.trend,
            share(one.failures),
            count(one.outcomes),
          ]),
        ),
      ),
      streams.length > 0 &&
        section(
          "Streams",
          "Outcomes in from brokers, and the log out to them.",
          table(
            "Streams",
            ["Stream", "Process", "State", "Behind", "A second", "Heard of"],
            streams.map((one) => [
              one.stream,
              one.process,
              tag(one.state, one.state === "waiting" ? "bad" : "good"),
              count(one.behind),
              one.rate?.toFixed(1),
              moment(one.at),
            ]),
          ),
        ),
      canary && section("Golden tasks", null, h("p", {}, `${share(canary.share)} are answered as they must be.`)),
      quarantines.length > 0 &&
        section(
          "Quarantines",
          "Ranges of the log that teach nothing.",
          table(
            "Quarantines",
            ["Strategy", "Why"],
            quarantines.map((one) => [one.strategy ?? "all", words(one.reason ?? "")]),
          ),
        ),
      section(
        "Dead letters",
        "What could not be understood or delivered, the newest first.",
        table(
          "Dead letters",
          ["When", "What", "Why"],
          letters.map((one) => [moment(one.at), one.kind, words(one.reason)]),
          "None.",
        ),
      ),
      section(
        "Newest updates",
        null,
        table(
          "Newest updates",
          ["When", "Strategy", "What", "Came to", "Samples", "Took"],
          events
            .slice(0, 8)
            .map((one) => [
              moment(one.at),
              one.strategy,
              one.type,
              tag(one.status, one.status === "succeeded" ? "good" : "bad"),
              count(one.samples),
              `${one.duration_ms.toFixed(1)} ms`,
            ]),
        ),
      ),
    );
  }

  return {
    heard(name) {
      if (name === "state") draw();
      top();
    },
  };
}
