/* Is all as it was: alerts, drift, how far learning is behind, and what was refused. */

import {
  agent,
  count,
  counted,
  figure,
  figures,
  h,
  heading,
  moment,
  ms,
  number,
  put,
  section,
  share,
  signed,
  small,
  table,
  tag,
  words,
} from "./dom.js";

const DRIFT = [
  ["prediction_drift", "Choices", "whom the router favours"],
  ["input_drift", "Tasks", "what is asked"],
  ["residual_change", "Agents", "how well agents do, against what was expected"],
];

/* What to make of each alert. */
const MEANS = {
  failed_updates: "Part of what happens teaches nothing until that is mended: Newest updates, below, and the log say why.",
  slow_updates: "Learning may fall behind: Not learnt yet, above, would grow.",
  improvement_rate: "Did an agent change? See below. Did a version take over? It is rolled back under Versions.",
  agent_failures: "Ask whoever runs it. It gets fewer tasks by itself; PUT /v1/agents/NAME/health keeps all away for a while.",
  residual_change: "The router follows by itself. Where nobody meant to change the agent, ask whoever runs it.",
  prediction_drift: "As it should be where agents, versions or tasks changed; else see below which agent changed.",
  input_drift: "What is asked has changed. A version that was fitted before may need a new fit: Versions.",
  golden_set: "What serves gets tasks wrong whose answer is known. It is rolled back under Versions.",
};

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
          backlog.unlogged ? `${counted(backlog.unlogged, "decision")} never logged` : "nothing was lost",
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
          ["What", number("Value"), number("Threshold"), "Since"],
          alerts.map((one) => [
            words(one.words, ". ", small(MEANS[one.name])),
            figure(one.value),
            figure(one.threshold),
            moment(one.since),
          ]),
          "None: all figures are within their thresholds.",
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
          ["Agent", "Now", number("Against expected"), "Trend", number("Failures"), number("Outcomes")],
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
          "No outcome is known yet of any agent.",
        ),
      ),
      streams.length > 0 &&
        section(
          "Streams",
          "Outcomes in from brokers, and the log out to them.",
          table(
            "Streams",
            ["Stream", "Process", "State", number("Behind"), number("A second"), "Heard of"],
            streams.map((one) => [
              one.stream,
              one.process,
              tag(one.state, one.state === "waiting" ? "bad" : "good"),
              count(one.behind),
              figure(one.rate),
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
          "None: all that came was understood.",
        ),
      ),
      section(
        "Newest updates",
        null,
        table(
          "Newest updates",
          ["When", "Strategy", "What", "Came to", number("Samples"), number("Took")],
          events
            .slice(0, 8)
            .map((one) => [
              moment(one.at),
              one.strategy,
              one.type,
              tag(one.status, one.status === "succeeded" ? "good" : "bad"),
              count(one.samples),
              ms(one.duration_ms),
            ]),
          "Nothing was learnt yet: POST /v1/outcomes says how tasks went.",
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
