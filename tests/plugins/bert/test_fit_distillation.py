import numpy as np
import pytest
import torch
from fit_cases import NAMES, encode, fine_tune, rows, settings, some, training_set
from router_sdk_bert.finetuning.distillation import Teacher

VECTORS = np.eye(4, 32, dtype=np.float32)


def teacher(names=NAMES, known=NAMES, exclusive=True, **more):
    return Teacher(rows(known), VECTORS, names, temperature=3.0, exclusive=exclusive, **more)


@pytest.mark.parametrize("exclusive", [True, False])
def test_agreeing_costs_nothing_and_disagreeing_something(exclusive):
    which, embeddings = np.arange(4), torch.tensor(VECTORS)
    said = torch.tensor(rows().logits(VECTORS))
    master = teacher(exclusive=exclusive)
    assert master.loss(said, embeddings, which).abs().max() < 1e-4
    assert master.loss(said.flip(1), embeddings, which).min() > 1e-3


def test_agents_that_the_teacher_did_not_know_are_left_to_the_feedback():
    master = teacher(names=("new", *NAMES))
    logits = torch.zeros(4, 4, requires_grad=True)
    master.loss(logits, torch.tensor(VECTORS), np.arange(4)).sum().backward()
    assert logits.grad[:, 0].abs().max() == 0
    assert logits.grad[:, 1:].abs().max() > 0


def test_embeddings_can_be_held_as_well():
    said, turned = torch.tensor(rows().logits(VECTORS)), torch.tensor(VECTORS).roll(1, dims=1)
    master = teacher(embedding_weight=2.0)
    assert master.loss(said, turned, np.arange(4)).tolist() == pytest.approx([2.0] * 4, abs=1e-4)


def test_gradients_pull_the_student_towards_the_teacher():
    student = torch.zeros(4, 3, requires_grad=True)
    said = torch.softmax(torch.tensor(rows(seed=3).logits(VECTORS)) / 3.0, 1)
    master = Teacher(rows(seed=3), VECTORS, NAMES, temperature=3.0, exclusive=True)
    moved = torch.optim.SGD([student], lr=0.5)
    for _ in range(300):
        moved.zero_grad()
        master.loss(student, torch.tensor(VECTORS), np.arange(4)).sum().backward()
        moved.step()
    assert torch.allclose(torch.softmax(student.detach() / 3.0, 1), said, atol=1e-3)


def test_a_fit_with_a_teacher_stays_closer_to_what_served(tmp_path):
    old, new = some(24, NAMES[:2], fresh=False), some(24, NAMES[2:] + NAMES[1:2], first=100)
    texts = [sample.text for sample in old]
    drift = {}
    for weight in (0.0, 0.9):
        folder = tmp_path / str(weight)
        folder.mkdir()
        how = settings(
            update="full", strategy="distillation", distillation_weight=weight, distillation_embeddings=20.0, epochs=4
        )
        out, _, _ = fine_tune(folder, training_set([*old, *new]), how)
        drift[weight] = float((1 - (encode(texts) * encode(texts, out)).sum(axis=1)).mean())
    assert drift[0.9] < 0.7 * drift[0.0]
