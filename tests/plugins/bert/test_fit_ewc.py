import pytest
import torch
from fit_cases import NAMES, accuracy, changed_world, fine_tune, model, settings, some, training_set
from router_sdk_bert.finetuning.carried_state import load_weights
from router_sdk_bert.finetuning.ewc import ElasticWeightConsolidation
from router_sdk_bert.finetuning.model import AllWeights, LowRankWeights


def held(update="full", fisher="all ones", ewc_lambda=2.0, **more):
    made = model()
    moving = AllWeights(made) if update == "full" else LowRankWeights(made, settings(), seed=0)
    if fisher == "all ones":
        names = {**moving.displacement(), **made.head_parameters()}
        fisher = {name: torch.ones_like(value, requires_grad=False) for name, value in names.items()}
    return made, ElasticWeightConsolidation(made, moving, ewc_lambda, fisher, **more)


@pytest.mark.parametrize("update", ["full", "lora"])
def test_nothing_moved_costs_nothing(update):
    assert held(update)[1].penalty().item() == 0.0


def test_its_gradient_reaches_the_live_head():
    made, consolidation = held()
    with torch.no_grad():
        made.weight += 0.5
    consolidation.penalty().backward()
    # λ/2 · F (θ - θ*)² has the gradient λ F (θ - θ*) = 2 · 1 · .5
    assert torch.allclose(made.weight.grad, torch.ones_like(made.weight))
    assert made.head_parameters()["head.weight"] is made.weight


@pytest.mark.parametrize("update", ["full", "lora"])
def test_its_gradient_reaches_the_live_encoder(update):
    made, consolidation = held(update)
    with torch.no_grad():
        for name, parameter in made.trainable().items():
            if not name.startswith("head."):
                parameter += 0.1
    penalty = consolidation.penalty()
    penalty.backward()
    reached = [value for name, value in made.trainable().items() if not name.startswith("head.")]
    assert penalty.item() > 0
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in reached)


def test_adapters_are_held_by_what_they_do_to_the_plain_weights():
    made, _ = held("full")
    moving = LowRankWeights(model(), settings(), seed=0)
    plain = dict(made.body.named_parameters())
    for name, moved in moving.displacement().items():
        assert plain[name].shape == moved.shape
    assert len(moving.displacement()) == 12, "six linear layers in each of two blocks, the pooler left out"


def test_merging_adds_exactly_the_displacement():
    made = model()
    before = {name: value.detach().clone() for name, value in made.body.named_parameters()}
    moving = LowRankWeights(made, settings(), seed=0)
    with torch.no_grad():
        for name, parameter in made.body.named_parameters():
            if "lora_B" in name:
                parameter += 0.05
    moved = {name: value.detach().clone() for name, value in moving.displacement().items()}
    moving.merge()
    for name, value in made.body.named_parameters():
        expected = before[name] + moved[name] if name in moved else before[name]
        assert torch.allclose(value, expected, atol=1e-6), name


def test_the_cheap_variant_holds_known_rows_and_leaves_new_ones_free():
    made, consolidation = held(fisher=None, held_rows=NAMES[:2])
    with torch.no_grad():
        made.weight += 1.0
    consolidation.penalty().backward()
    assert made.weight.grad[:2].abs().min() > 0
    assert made.weight.grad[2].abs().max() == 0


def test_information_survives_a_new_agent(tmp_path):
    two = NAMES[:2]
    how = settings(strategy="ewc", ewc_lambda=10.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, state, _ = fine_tune(tmp_path / "a", training_set(some(16, two), names=two), how)
    assert state.fisher["head.weight"].shape[0] == 2
    again = load_weights(first)
    assert again is not None
    samples = [*some(8, two, fresh=False, folder=first), *some(16, NAMES, first=100, folder=first)]
    _, grown, _ = fine_tune(tmp_path / "b", training_set(samples, names=("travel", *two)), how, again)
    assert grown.fisher["head.weight"].shape[0] == 3
    assert all(float(value.min()) >= 0 for value in grown.fisher.values())


@pytest.mark.slow
@pytest.mark.parametrize(("penalty", "ewc_lambda"), [("fisher", 3e4), ("l2", 300.0)])
def test_it_remembers_better_than_nothing_does(tmp_path, penalty, ewc_lambda):
    old, new, test = changed_world()
    remembered = {}
    for strategy in ("none", "ewc"):
        folder = tmp_path / strategy
        folder.mkdir()
        how = settings(strategy=strategy, ewc_lambda=ewc_lambda, ewc_penalty=penalty, epochs=6, learning_rate=5e-3)
        out, state, _ = fine_tune(folder, training_set([*old, *new], names=NAMES[:2]), how)
        remembered[strategy] = accuracy(out, state, test)
    assert remembered["ewc"] > remembered["none"] + 0.2
