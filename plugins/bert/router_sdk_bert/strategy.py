"""The strategy: an encoder, a head that learns from every outcome, and fits in the background."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from router_sdk.numerics.request_finding import RequestFinder
from router_sdk.numerics.state_file import read_state, write_state
from router_sdk.plugin import CorruptArtifactError, RequestEncoder, Strategy, StrategyConfig, StrategyServices, no_fork
from router_sdk_bert.config import BertConfig
from router_sdk_bert.encoding.background import EncoderSlot
from router_sdk_bert.encoding.encoder import BATCH, embed, load_encoder, open_encoder, vectors_of
from router_sdk_bert.encoding.sealed_folder import link_sealed
from router_sdk_bert.finetuning.carried_state import BESIDE_ENCODER, OLD_FILE, CarriedState, carried_in
from router_sdk_bert.head.estimates import proposal_of
from router_sdk_bert.head.explanations import StoredNames, attribute_words, explain, lead_of
from router_sdk_bert.head.head import AnyHead, Head, make_head
from router_sdk_bert.head.outcome_prediction import OutcomePredictor
from router_sdk_bert.head.policies import Policies, Published
from router_sdk_bert.head.prototypes import Prototype, prototypes_of
from router_sdk_bert.head.rows import row_of
from router_sdk_bert.head.trained_rows import trained_with

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from router_sdk.plugin import AgentSet, Encoder, Example, FitContext, Proposal, RouteContext, Task, TrainingData
    from router_sdk_bert.head.estimates import Estimate
    from router_sdk_bert.head.rows import Row

    Asked = tuple[Task, NDArray[np.float32], Estimate | None]

OWN_ENCODER = "encoder"
"""Folder, in a saved version, of an encoder that was fine-tuned for it."""
_BEFORE_POLICIES, _BEFORE_REQUESTS = 3, 5
"""Of states whose head answered alone, and that knew no requests; they are read, and what they lack begins anew."""


class BertStrategy(Strategy):
    """Routes by a transformer's embedding of the text.

    A request encodes its text and reads one immutable snapshot. ``learn`` works on the head and publishes the next.
    Without an encoder the strategy abstains; ``report`` says why.

    Attributes:
        head: What is learnt on top of the encoder.
        policies: What answers beside the head, and which of them does.
        predictor: What else is known of the agents.
        requests: What requests look like, to find them in long texts.
        carried: What a fit hands on to the next.
    """

    name: ClassVar[str] = "bert"
    Config: ClassVar[type[StrategyConfig]] = BertConfig
    state_version: ClassVar[int] = 6
    warm_starts: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("head.*:*.weights", "head.*:*.intercepts", f"{OWN_ENCODER}/*")

    def __init__(self, config: StrategyConfig, services: StrategyServices) -> None:
        super().__init__(config, services)
        self.settings = cast("BertConfig", config)
        self._seed = services.seed or 0
        self.head: AnyHead = make_head(self.settings, self._seed)
        self.policies = Policies(self.settings.labels)
        self.predictor = OutcomePredictor(self._seed)
        self.requests = RequestFinder()
        self.carried = CarriedState()
        self.fine_tuned = False
        self._agents: AgentSet | None = None
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._slot = EncoderSlot(self.open, self._adopt_opened, services.logger)
        self._own_encoder = False
        self._missed = False
        self._lock = threading.RLock()
        self._published: Published | None = None

    def open(self) -> Encoder:
        """Open the configured encoder; may take long, and is given up once the strategy is closed.

        Raises:
            EncoderUnavailableError: if there are no weights, or it was given up.
        """
        return open_encoder(self.settings, stopped=self._slot.stopped)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, waited for; None where there is none."""
        return self._slot.wait()

    @property
    def exclusive(self) -> bool:
        """Whether exactly one agent is taken to be right."""
        return self.policies.exclusive

    def successor(self, encoder: Encoder | None = None) -> Self:
        """A strategy with an empty head, to be prepared and taught.

        Args:
            encoder: A fine-tuned encoder of its own; None keeps this strategy's.
        """
        new = type(self)(self.config, self.services)
        if (chosen := self.encoder if encoder is None else encoder) is not None:
            new._slot.put(chosen)
        new._own_encoder = self._own_encoder or encoder is not None
        return new

    def next_version(self, carried: CarriedState, exported: Path | None = None) -> Self:
        """The same for a fit to teach, with what it hands on; ``exported`` is the folder of an encoder that it moved.

        Raises:
            CorruptArtifactError: if a file of that is missing or is not what was written.
            EncoderUnavailableError: if a library is missing.
        """
        new = self.successor(None if exported is None else self._kept_encoder(exported))
        new.carried, new.fine_tuned = carried, exported is not None
        return new

    def untaught(self) -> Self:
        """A strategy with an empty head on the same open encoder; waits for it, but not for one that was fine-tuned."""
        new = type(self)(self.config, self.services)
        if not self._own_encoder and (encoder := self.encoder) is not None:
            new._slot.put(encoder)
        return new

    def prepare(self, agents: AgentSet) -> None:
        """Read what the agents say of themselves; the first time, begin to open the encoder."""
        self._agents = agents
        self.predictor.prepare(agents)
        if self._slot.encoder is not None:
            self._adopt(self._slot.encoder)
            return
        self._slot.start()
        if self.settings.wait_for_encoder:
            self.warm_up()

    def warm_up(self) -> str | None:
        """Wait for the encoder; why there is none, if there is none."""
        self._slot.wait()
        with self._lock:  # who fills the slot may be about to embed agents that came meanwhile
            return self._slot.reason

    def after_fork(self) -> None:
        """In a forked child: locks that nobody holds, and the encoder is opened if the parent was about to."""
        self._lock = threading.RLock()
        self._slot.after_fork()

    def close(self) -> None:
        """Give up opening the encoder; what was published serves on."""
        self._slot.close()

    def _adopt_opened(self, encoder: Encoder) -> None:
        with self._lock:
            if self._slot.encoder is not None:
                return  # A state was loaded meanwhile that has an encoder of its own.
            agents = self._agents
            self._adopt(encoder, self._slot.stopped)
            self._slot.put(encoder)
            if self._agents is not agents:  # Whoever changed them found no encoder yet.
                self._adopt(encoder, self._slot.stopped)

    def _adopt(self, encoder: Encoder, stopped: Callable[[], bool] = lambda: False) -> None:
        """Embed what the agents say of themselves, and publish.

        Raises:
            EncoderUnavailableError: if it was given up.
        """
        with self._lock:
            agents = self._agents
            if agents is not None:
                told = {agent.name: prototypes_of(agent, self.settings) for agent in agents}
                self._embed(encoder, told, stopped)
                with no_fork():
                    if isinstance(self.head, Head):
                        self.head.trained = trained_with(encoder)
                    self.head.set_agents(agents.names, told, self._vectors)
                self.policies.prepare(agents, trained=getattr(self.head, "trained", None) is not None)
            self._publish(encoder)

    def _publish(self, encoder: Encoder) -> None:
        reader = RequestEncoder(encoder, self.requests.evidence)
        self._published = Published(reader, self.head.snapshot, self.policies.publish())

    def _embed(self, encoder: Encoder, told: Mapping[str, Sequence[Prototype]], stopped: Callable[[], bool]) -> None:
        """Know the vectors of these texts, and of no others."""
        known = self._vectors or self.head.prototypes.vector_of()
        texts = dict.fromkeys(one.text for each in told.values() for one in each)
        self.requests.prepare(texts)
        missing = [text for text in texts if text not in known]
        made = dict(zip(missing, embed(encoder, missing, stopped), strict=True))
        self._vectors = {text: made[text] if text in made else known[text] for text in texts}

    def propose(self, task: Task, agents: AgentSet, context: RouteContext) -> Proposal | None:
        """What the head makes of the task's embedding; None without a text, an encoder, or anything to judge by."""
        published = self._published
        if published is None or not task.text.strip() or not len(agents):
            return None
        vector = np.asarray(context.encode(published.reader), dtype=np.float32)
        if not vector.any():
            return None
        estimate = published.snapshot.estimate(vector, agents.names)
        return self._proposals(published, [(task, vector, estimate)], agents.names)[0]

    def propose_batch(
        self, tasks: Sequence[Task], agents: AgentSet, contexts: Sequence[RouteContext]
    ) -> list[Proposal | None]:
        """``propose`` for many tasks, whose texts are encoded together."""
        published, answers = self._published, cast("list[Proposal | None]", [None] * len(tasks))
        told = [place for place, task in enumerate(tasks) if task.text.strip()]
        if published is None or not told or not len(agents):
            return answers
        rows = np.asarray(contexts[told[0]].encode_batch(published.reader, [contexts[at] for at in told]), np.float32)
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            estimates = published.snapshot.estimate_batch(part, agents.names)
            places = told[start : start + BATCH]
            asked = zip([tasks[place] for place in places], part, estimates, strict=True)
            found = zip(places, part, self._proposals(published, list(asked), agents.names), strict=True)
            for place, vector, proposal in found:
                answers[place] = proposal if vector.any() else None
        return answers

    def _proposals(self, published: Published, asked: Sequence[Asked], names: tuple[str, ...]) -> list[Proposal | None]:
        """What follows from the head's estimates of some tasks, and what answers beside it."""
        tasks, vectors, estimates = zip(*asked, strict=True)
        known = [estimate for estimate in estimates if estimate is not None]
        if len(known) < len(estimates):  # there is nothing to judge by, whatever is asked
            return [None] * len(estimates)
        snapshot, settings = published.snapshot, self.settings
        proposals: list[Proposal | None] = []
        stored = StoredNames(snapshot.ids, snapshot.texts, snapshot.codes)
        choices = published.policies.choose(known, vectors, names, [task.task_type for task in tasks])
        for estimate, vector, choice in zip(known, vectors, choices, strict=True):
            expected = partial(self.predictor.of, vector=vector)
            evidence = partial(explain, stored, estimate, choice, expected, names, settings.nearest_shown)
            proposals.append(proposal_of(estimate, choice, names, settings, evidence))
        return proposals

    def attribute(self, text: str, agents: Sequence[str], agent: str) -> list[tuple[str, float]]:
        """How much each word speaks for an agent, in log odds against the best other one; slow, not for requests.

        Raises:
            ValueError: if the agent is not among those given, or there is nothing to judge by.
        """
        published = self._published
        if published is None:
            raise ValueError("there is no encoder")
        request, lead = published.reader.requests.passage(text), lead_of(published.snapshot, tuple(agents), agent)
        return attribute_words(request, published.reader.encode, lead)

    def learn(self, examples: Sequence[Example]) -> None:
        """Add the outcomes to what is stored, refit where it is due, and publish. Waits for the encoder."""
        encoder = self._slot.wait()
        if encoder is None:
            # A state that has missed outcomes is refused when it is loaded, and the log is replayed.
            self._missed = self._missed or bool(examples)
            return
        with self._lock:
            for example, vector in zip(examples, vectors_of(encoder, examples, self.requests), strict=True):
                if vector is not None:
                    self.predictor.learn(example, vector)
                    self._learn(row_of(example, vector, self.settings.propensity_clip))
            self.head.publish()
            self._publish(encoder)

    def _learn(self, row: Row) -> None:
        if isinstance(self.head, Head):
            self.policies.learn(row, self.head.judge, self.head.memory.rewards)
            self.head.take(exclusive=self.policies.exclusive)
        else:
            self.policies.learn(row, self.head.judge)
        self.policies.changed(self.head.learn(row), self.settings.kept_after_change)

    def remember(self, rows: Sequence[Row]) -> None:
        """Learn rows that stand in no log; nothing is published."""
        with self._lock:
            for row in rows:
                self._learn(row)
            self.head.publish()

    def fit(self, data: TrainingData, context: FitContext) -> Strategy:
        """A new version, fine-tuned on the log.

        Raises:
            FitError: if it failed; this strategy is untouched.
            FitStoppedError: if ``context.stopped`` said so.
        """
        from router_sdk_bert.finetuning.fit import fit_version

        return fit_version(self, data, context)

    def refit(self) -> None:
        """Refit the head now rather than when it is due."""
        with self._lock:
            self.head.refit()
            if self._slot.encoder is not None:
                self._publish(self._slot.encoder)

    def forget_agents(self, names: Collection[str]) -> None:
        """Drop what outcomes said of these agents."""
        with self._lock:
            self.head.forget_agents(names)
            self.policies.forget_agents(names)
            self.predictor.forget(names)
            self._republish()

    def forget_examples(self, decision_ids: Collection[str]) -> None:
        """Drop the stored vectors and carried texts of these decisions and refit without them; sums stay."""
        with self._lock:
            self.carried = self.carried.without(decision_ids)
            self.head.forget_examples(decision_ids)
            self.policies.forget_examples()
            self._republish()

    def _republish(self) -> None:
        if self._published is not None:
            self._publish(self._published.reader.encoder)

    def save(self, folder: Path) -> None:
        """Write the head, what is expected, what is carried on, and the encoder if it was fine-tuned."""
        with self._lock:
            encoder = self._slot.encoder
            self.head.save(folder)
            self.policies.save(folder)
            self.requests.save(folder)
            names, sums = self.predictor.arrays()
            facts = {
                "state_version": self.state_version,
                "names": names,
                "encoder": None if encoder is None else encoder.tag,
                "complete": not self._missed,
                "fine_tuned": self.fine_tuned,
            }
            write_state(folder, "strategy", {"expectations": sums}, facts)
            self.carried.save(folder)
            own = getattr(encoder, "folder", None)
            if self._own_encoder and own is not None:
                link_sealed(own, folder / OWN_ENCODER, without=[OLD_FILE])

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote; a fine-tuned encoder comes with it, and the folder may go afterwards.

        Raises:
            CorruptArtifactError: if it is not valid, or was learnt on vectors of another encoder.
        """
        arrays, facts = read_state(folder, "strategy")
        version = facts.get("state_version", BESIDE_ENCODER)
        if version not in (BESIDE_ENCODER, _BEFORE_POLICIES, _BEFORE_REQUESTS, self.state_version):
            raise CorruptArtifactError(f"the state has version {version}, which this release does not read")
        carried = carried_in(folder, folder / OWN_ENCODER if version == BESIDE_ENCODER else None)
        own = (folder / OWN_ENCODER).is_dir()
        encoder = self._kept_encoder(folder / OWN_ENCODER) if own else self._slot.wait()
        tag, learnt_with = None if encoder is None else encoder.tag, facts.get("encoder")
        if not facts.get("complete") or learnt_with not in (None, tag):
            why = f"was {learnt_with}, this is {tag}" if facts.get("complete") else "was not open yet"
            raise CorruptArtifactError(f"the encoder of the state {why}")
        head, predictor = make_head(self.settings, self._seed), OutcomePredictor(self._seed)
        policies, requests = Policies(self.settings.labels), RequestFinder()
        head.load(folder)
        requests.load(folder)
        if version >= _BEFORE_REQUESTS:
            policies.load(folder)
        if encoder is not None and head.dimension not in (None, len(embed(encoder, ["a"])[0])):
            raise CorruptArtifactError(f"the state is of vectors with {head.dimension} dimensions")
        predictor.restore(facts, arrays)
        with self._lock:
            self.head, self.policies, self.predictor = head, policies, predictor
            self.requests, self.carried, self._vectors = requests, carried, {}
            self.fine_tuned, self._own_encoder = bool(facts.get("fine_tuned")), self._own_encoder or own
            predictor.prepare(self._agents or ())
            if encoder is not None:
                self._slot.put(encoder)
                self._adopt(encoder)

    def _kept_encoder(self, folder: Path) -> Encoder:
        """An encoder of this strategy's own, in a place that lasts for as long as it is used."""
        kept = self.services.keep(folder)
        return load_encoder(kept.path, self.settings, kept)

    def expected(self) -> Mapping[str, Mapping[str, float]]:
        """What an average task may expect of each agent."""
        return {agent.name: self.predictor.of(agent.name, None) for agent in self._agents or ()}

    def category_distribution(self) -> Mapping[str | None, int]:
        """How many outcomes are stored about each agent; nothing where the head keeps sums alone."""
        with self._lock:
            return self.head.memory.category_distribution() if isinstance(self.head, Head) else {}

    def report(self) -> Mapping[str, Any]:
        """The encoder, or why there is none, and what the head has learnt."""
        encoder, none = self._slot.encoder, {"note": self._slot.reason}
        status = none if encoder is None else dict(getattr(encoder, "status", {"tag": encoder.tag}))
        return {"encoder": status, "fine_tuned": self._own_encoder, **self.head.report(), **self.policies.report()}
