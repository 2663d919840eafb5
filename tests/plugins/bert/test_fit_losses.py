import numpy as np
import pytest
import torch
from fit_cases import NAMES
from hypothesis import given
from hypothesis import strategies as st
from router_sdk_bert.finetuning.losses import contrastive_loss, feedback_loss
from router_sdk_bert.finetuning.samples import Sample, targets_of

PLACES = {name: row for row, name in enumerate(NAMES)}
LOGITS = torch.tensor([[1.0, 0.0, -1.0]])


def target(**feedback):
    return targets_of([Sample("1", "text", **feedback)], PLACES)


def loss(logits, **feedback):
    exclusive = feedback.pop("exclusive", True)
    return float(feedback_loss(logits, target(**feedback), exclusive=exclusive)[0])


def test_a_label_is_cross_entropy_over_all_agents():
    expected = -torch.log_softmax(LOGITS, 1)[0, 1]
    assert loss(LOGITS, label="code", labelled=True) == pytest.approx(float(expected))


@pytest.mark.parametrize("reward", [0.0, 0.3, 1.0])
def test_a_reward_is_the_entry_of_who_acted(reward):
    p = float(torch.softmax(LOGITS, 1)[0, 0])
    expected = -reward * np.log(p) - (1 - reward) * np.log(1 - p)
    assert loss(LOGITS, agent="billing", reward=reward) == pytest.approx(expected, rel=1e-5)


def test_where_several_can_succeed_a_reward_says_nothing_of_the_others():
    for exclusive, moves in ((True, True), (False, False)):
        logits = LOGITS.clone().requires_grad_(True)
        feedback_loss(logits, target(agent="billing", reward=0.0), exclusive=exclusive).sum().backward()
        assert (abs(logits.grad[0, 1]) > 1e-6) == moves
        assert logits.grad[0, 0] > 0, "the chance of who failed must fall"


def test_an_independent_label_is_a_full_row():
    chances = torch.sigmoid(LOGITS)[0]
    expected = -torch.log(1 - chances[0]) - torch.log(chances[1]) - torch.log(1 - chances[2])
    assert loss(LOGITS, label="code", labelled=True, exclusive=False) == pytest.approx(float(expected), rel=1e-5)


def test_nobody_fits_asks_for_an_even_softmax_and_for_no_chance_of_anybody():
    sure, even = torch.tensor([[8.0, 0.0, 0.0]]), torch.zeros(1, 3)
    assert loss(even, label=None, labelled=True) < loss(sure, label=None, labelled=True)
    none, some = torch.full((1, 3), -8.0), torch.zeros(1, 3)
    fits = {"label": None, "labelled": True, "exclusive": False}
    assert loss(none, **fits) < 0.01 < loss(some, **fits)


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.floats(0, 1), st.booleans())
def test_losses_and_their_gradients_are_finite_however_sure_the_model_is(scores, reward, exclusive):
    logits = torch.tensor([scores], requires_grad=True)
    each = feedback_loss(logits, target(agent="billing", reward=reward), exclusive=exclusive)
    each.sum().backward()
    assert float(each.detach()) >= -1e-6
    assert torch.isfinite(each).all()
    assert torch.isfinite(logits.grad).all()


def test_a_label_takes_the_place_of_the_reward():
    both = targets_of([Sample("1", "text", "code", True, agent="billing", reward=0.0)], PLACES)
    assert both.labels[0] == 1
    assert both.agents[0] == -1


def test_the_contrastive_loss_pulls_one_agents_tasks_together():
    labels = targets_of([Sample(str(i), "t", label, True) for i, label in enumerate("aabb")], {"a": 0, "b": 1})
    apart = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    together = apart[[0, 2, 1, 3]]
    assert contrastive_loss(together, labels) < contrastive_loss(apart, labels)
    alone = targets_of([Sample("1", "t", "a", True), Sample("2", "t", "b", True)], {"a": 0, "b": 1})
    assert contrastive_loss(apart[:2], alone) == 0.0


def test_classes_are_counted_over_both_kinds_of_feedback():
    def classes(*samples):
        return targets_of(samples, PLACES).classes()

    assert classes(Sample("1", "t", "code", True), Sample("2", "t", "code", True)) == 1
    assert classes(Sample("1", "t", "code", True), Sample("2", "t", "travel", True)) == 2
    assert classes(Sample("1", "t", agent="code", reward=1.0), Sample("2", "t", agent="code", reward=0.0)) == 2
