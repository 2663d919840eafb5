"""Whether an encoder says what its makers' pipeline says: over texts that have a nearest other text each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_sdk.plugin import EncoderUnavailableError
from router_sdk_bert.config import Backend
from router_sdk_bert.encoding.checkpoint import BackendCheck

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_COSINE = 0.98
LEAST_AGREEMENT = 0.98
LEAST_DIFFERENCE = 1e-3
"""Between numbers of two vectors of length 1, in single precision, that are not the same but for rounding."""
_TIE = 0.01
_SAME = 1e-5
_COLLAPSED = 0.05
"""Share of the texts that may get the vector of another text."""


def compare(backend: Backend, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> BackendCheck:
    """Compare normalised vectors of the same texts.

    Args:
        backend: Which one made the candidates.
        reference: Of the folder's own pipeline, shape ``(n, d)``.
        candidate: The back-end's, shape ``(n, d)``.
    """
    rows = np.arange(len(reference))
    near, also_near = _similarities(reference), _similarities(candidate)
    choice, chosen = near.argmax(1), also_near.argmax(1)
    cosine = float((reference * candidate).sum(1).mean())
    top1 = float((choice == chosen).mean())
    agreement = float((near[rows, chosen] >= near[rows, choice] - _TIE).mean())
    finite = bool(np.isfinite(candidate).all())
    return BackendCheck(
        backend=backend,
        cosine=round(cosine, 6) if finite else -1.0,
        top1=top1,
        agreement=agreement,
        passed=finite and cosine >= LEAST_COSINE and agreement >= LEAST_AGREEMENT,
    )


def compare_exactly(backend: Backend, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> BackendCheck:
    """The same, of a back-end that runs the same operators: it must give the same vectors.

    It runs texts of different lengths together, so that what fails here makes a text's vector depend on its neighbours.
    """
    apart = float(np.abs(reference - candidate).max())
    found = compare(backend, reference, candidate)
    if apart <= LEAST_DIFFERENCE:
        return found.model_copy(update={"passed": True})
    problem = f"gives a text another vector in a batch: a number differs by {apart:.2g}"
    return found.model_copy(update={"passed": False, "problem": problem})


def not_comparable(backend: Backend, problem: str) -> BackendCheck:
    """A back-end that gave no vectors at all."""
    return BackendCheck(backend=backend, cosine=-1.0, top1=0.0, agreement=0.0, passed=False, problem=problem)


def told_apart(folder: Path, pooling: str, tokens: Sequence[Sequence[int]], vectors: NDArray[np.float32]) -> None:
    """See that different texts get different vectors.

    Args:
        folder: To name.
        pooling: To name.
        tokens: Ids of each text.
        vectors: Normalised, shape ``(n, d)``.

    Raises:
        EncoderUnavailableError: if many get the vector of another one.
    """
    near = _similarities(vectors)
    twins = 0
    for place, other in enumerate(near.argmax(1)):
        same = np.abs(vectors[place] - vectors[other]).max() < _SAME
        twins += bool(same and list(tokens[place]) != list(tokens[other]))
    if twins > _COLLAPSED * len(tokens):
        raise EncoderUnavailableError(
            f"{folder}: {twins} of {len(tokens)} texts get the vector of another one with pooling {pooling!r}; set "
            "pooling to how it was trained, such as 'lasttoken' or 'mean' where a token sees only those before it"
        )


def _similarities(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found = vectors @ vectors.T
    np.fill_diagonal(found, -np.inf)
    return found


_PAIRS = """
I was charged twice this month | my card shows the same payment two times
please refund my last order | I want my money back for what I bought
how do I reset my password | I forgot my password and need a new one
my parcel has not arrived | where is my delivery, it should be here by now
cancel my subscription | I no longer want to be subscribed
book a flight to Lisbon on Friday | I need a plane ticket to Lisbon for Friday
find a hotel near the station | which hotels are close to the train station
what will the weather be tomorrow | is it going to rain tomorrow
translate this sentence into French | how do you say this in French
set an alarm for six in the morning | wake me up at 6 am
play some jazz | put on jazz music
how many calories are in an apple | is an apple high in calories
write a Python function that sorts a list | sort a list in Python, show me the code
this SQL query is slow | my database query takes far too long
fix the failing unit test | one of our tests does not pass, please repair it
deploy the service to production | roll the new release out to the live servers
the app crashes when I open it | every time I start the app it closes at once
explain this error message | what does this error mean
summarise the meeting notes | give me a short summary of our meeting
draft an email to the landlord | write a mail to my landlord for me
schedule a meeting with the sales team | arrange a call with our sales people
what is the exchange rate for euros | how many dollars do I get for one euro
transfer 200 to my savings account | move two hundred into my savings
report a stolen credit card | my credit card was stolen
increase my credit limit | I would like a higher limit on my card
which campaign brought the most sales | what advertising campaign sold best
plot revenue by month | draw a chart of monthly revenue
forecast demand for next quarter | how much will we sell in the coming quarter
reduce the advertising budget for television | spend less on TV ads
compare the two pricing plans | what is the difference between the plans' prices
my laptop does not charge | the battery of my notebook stays empty when plugged in
install the printer driver | set up the software for my printer
the wifi keeps dropping | my wireless connection is lost again and again
recommend a good Italian restaurant | where can I eat good pasta around here
how long do I boil an egg | cooking time for boiled eggs
change the oil in my car | my car needs new engine oil
when does the museum open | opening hours of the museum
renew my passport | my passport expires, how do I get a new one
apply for parental leave | we are having a baby and I want time off
how many vacation days do I have left | remaining days of annual leave
the invoice has the wrong address | our address on the bill is not right
review this contract for risks | are there dangerous clauses in this agreement
solve the equation 3x + 5 = 20 | find x such that 3x plus 5 is 20
who wrote Don Quixote | author of Don Quixote
tell me a joke | say something funny
turn off the lights in the kitchen | kitchen lights off, please
order more paper for the office | we are out of office paper, buy some
check the stock of blue shoes | are the blue shoes still available
"""
PROBES: tuple[str, ...] = (
    *(side.strip() for pair in _PAIRS.strip().splitlines() for side in pair.split("|")),
    " ".join(pair.partition("|")[0] for pair in _PAIRS.strip().splitlines()),
    " ".join(pair.partition("|")[2] for pair in _PAIRS.strip().splitlines()),
)
"""98 texts."""
