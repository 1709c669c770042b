"""The training loop: rungs, stopping, failing, repeating, and what it leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from spnas.errors import TrainingError
from spnas.tasks.classification import ClassificationTask
from spnas.training import Schedule, TrainingResult, score_model, train


def _model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=0.001), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def test_training_learns_and_reports_at_each_rung(task: ClassificationTask) -> None:
    model, seen = _model(), []
    result = train(
        model,
        task,
        Schedule(6, rungs=(1, 3), batch_size=8, lr=0.01),
        seed=0,
        report=lambda known: seen.append((known.epochs, known.score.value)) or True,
    )
    assert [epoch for epoch, _ in seen] == [1, 3, 6]
    assert result.score.value == seen[-1][1] == 1.0
    assert (result.epochs, result.stopped) == (6, False)
    assert result.train_s > 0


def test_a_report_can_stop_the_training(task: ClassificationTask) -> None:
    seen: list[int] = []

    def report(known: TrainingResult) -> bool:
        seen.append(known.epochs)
        return known.epochs < 2

    result = train(_model(), task, Schedule(5, (1, 2, 4), 8), seed=0, report=report)
    assert (seen, result.epochs, result.stopped) == ([1, 2], 2, True)


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator(
    task: ClassificationTask,
) -> None:
    def weights(seed: int) -> Tensor:
        model = _model()
        torch.manual_seed(1)
        train(model, task, Schedule(2, batch_size=8), seed=seed)
        drawn.append(torch.rand(1).item())
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    drawn: list[float] = []
    first, again, other = weights(3), weights(3), weights(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(drawn)) == 1


def test_the_model_is_left_ready_for_use(task: ClassificationTask) -> None:
    model = _model()
    result = train(model, task, Schedule(2, batch_size=8), seed=0)
    assert not model.training
    assert model[0].weight.is_contiguous()
    assert task.evaluate(model) == result.score
    assert score_model(model, task, 192) == result.score


def test_without_new_statistics_the_score_would_be_wrong(
    task: ClassificationTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow momentum keeps the statistics that a candidate inherited, as YOLOv8's does in a short training."""

    def score() -> float:
        model = _model()
        model[1].running_mean.fill_(20.0)
        return train(model, task, Schedule(6, batch_size=8, lr=0.01), seed=0).score.value

    assert score() == 1.0
    monkeypatch.setattr("spnas.training.loop.reestimate_batchnorm", lambda model, images: None)
    assert score() == 0.5


def test_a_loss_that_is_not_finite_fails_with_epoch_and_step(task: ClassificationTask) -> None:
    class Diverging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = _model(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += self.training and torch.is_grad_enabled()
            return self.inner(x) * (float("inf") if self.calls == 9 else 1.0)

    model = Diverging()
    with pytest.raises(TrainingError, match="the loss is nan at epoch 2, step 3 of 6"):
        train(model, task, Schedule(3, batch_size=8), seed=0)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_lock_is_held_for_each_batch_and_scoring_and_free_between(
    task: ClassificationTask,
) -> None:
    class Lock:
        def __init__(self) -> None:
            self.taken, self.held = 0, False

        @contextlib.contextmanager
        def shared(self) -> Iterator[None]:
            self.taken, self.held = self.taken + 1, True
            yield
            self.held = False

    lock = Lock()
    free_at_report = []
    train(
        _model(),
        task,
        Schedule(2, (1,), batch_size=8),
        seed=0,
        lock=lock,
        report=lambda *_: free_at_report.append(not lock.held) or True,
    )
    assert lock.taken == 2 * (6 + 1)
    assert free_at_report == [True, True]


def test_biases_and_batchnorms_do_not_decay(task: ClassificationTask) -> None:
    """A decay strong enough to kill every weight leaves the biases and BatchNorms alive."""
    model = _model()
    train(model, task, Schedule(2, batch_size=8, lr=0.1, weight_decay=9.0, warmup=0), seed=0)
    assert model[0].weight.abs().mean() < 0.1
    assert model[1].weight.mean() > 0.5


@pytest.mark.parametrize("batch_size", [3, 5, 47])
def test_no_batch_is_left_with_one_image(task: ClassificationTask, batch_size: int) -> None:
    """48 images in batches of 47: one alone could not pass a BatchNorm on a map of one pixel."""
    layers = [nn.Conv2d(3, 4, 12), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)]
    train(nn.Sequential(*layers), task, Schedule(1, batch_size=batch_size, calibration=47), seed=0)
