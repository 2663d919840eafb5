import pytest
import torch
from router_sdk_bert.finetuning.ewc import accumulated, diagonal_fisher, regrown


def test_it_is_the_mean_of_each_samples_squared_gradient():
    # loss_i = -w x_i has the gradient -x_i: squares 1, 4 and 9, mean 14/3; the squared mean gradient would be 4.
    weight = torch.tensor([5.0], requires_grad=True)
    inputs = [1.0, 2.0, 3.0]
    found = diagonal_fisher({"w": weight}, lambda i: -(weight * inputs[i]).sum(), 3)
    assert found["w"].item() == pytest.approx(14 / 3)


def test_gradients_that_cancel_still_count():
    weight = torch.tensor([0.0], requires_grad=True)
    found = diagonal_fisher({"w": weight}, lambda i: (weight * (1.0 if i else -1.0)).sum(), 2)
    assert found["w"].item() == pytest.approx(1.0)


def test_a_logistic_model_by_hand():
    # For y=1 the gradient of -log σ(w·x) is -(1-p) x; at w=0 p is one half, so each square is x²/4.
    weight = torch.zeros(2, requires_grad=True)
    inputs = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    found = diagonal_fisher({"w": weight}, lambda i: -torch.nn.functional.logsigmoid(weight @ inputs[i]), 2)
    assert found["w"].tolist() == pytest.approx([0.5, 2.0])


def test_what_a_loss_does_not_depend_on_has_none():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = diagonal_fisher({"used": used, "unused": unused}, lambda i: used.sum(), 1)
    assert found["unused"].tolist() == [0.0, 0.0, 0.0]
    assert found["used"].tolist() == [1.0, 1.0]


def test_older_information_counts_less():
    old, new = {"a": torch.ones(1), "b": torch.ones(1)}, {"a": torch.ones(1), "c": torch.ones(1)}
    assert {name: value.item() for name, value in accumulated(old, new, 0.5).items()} == {"a": 1.5, "b": 1.0, "c": 1.0}


def test_rows_follow_their_agents_and_new_ones_are_free():
    fisher = {"head.weight": torch.tensor([[1.0, 1.0], [2.0, 2.0]]), "head.bias": torch.tensor([1.0, 2.0])}
    grown = regrown({**fisher, "layer.weight": torch.ones(3)}, ("a", "b"), ("new", "b", "a"))
    assert grown["head.weight"].tolist() == [[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]
    assert grown["head.bias"].tolist() == [0.0, 2.0, 1.0]
    assert grown["layer.weight"].tolist() == [1.0, 1.0, 1.0]


def test_an_agent_that_left_takes_its_row_along():
    grown = regrown({"head.bias": torch.tensor([1.0, 2.0])}, ("a", "b"), ("b",))
    assert grown["head.bias"].tolist() == [2.0]
