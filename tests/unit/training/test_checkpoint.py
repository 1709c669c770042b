"""A training that was interrupted ends as it would have had without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spnas.errors import RunError
from spnas.tasks.classification import ClassificationTask
from spnas.training import Checkpoint, Schedule, TrainingResult, train

SCHEDULE = Schedule(6, rungs=(1, 3), batch_size=8, lr=0.01)


def _always(file: Path) -> Checkpoint:
    """A checkpoint that is written after every epoch."""
    return Checkpoint(file, most_often_s=0, clock=lambda: 0.0)


def _model() -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def _train_until(epoch: int, task: ClassificationTask, checkpoint: Checkpoint) -> None:
    def progress(done: int, _: float) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_model(), task, SCHEDULE, seed=3, progress=progress, checkpoint=checkpoint)


@pytest.mark.parametrize("killed_in", [1, 2, 4, 6])
def test_it_goes_on_after_its_last_whole_epoch(
    killed_in: int, task: ClassificationTask, tmp_path: Path
) -> None:
    whole = _model()
    expected = train(whole, task, SCHEDULE, seed=3)
    file = tmp_path / "a.checkpoint"
    _train_until(killed_in, task, _always(file))
    assert file.is_file() == (killed_in > 1)

    epochs: list[int] = []
    rungs: list[int] = []

    def report(known: TrainingResult) -> bool:
        rungs.append(known.epochs)
        return True

    model = _model()
    result = train(
        model,
        task,
        SCHEDULE,
        seed=3,
        report=report,
        progress=lambda epoch, _: epochs.append(epoch),
        checkpoint=_always(file),
    )
    assert epochs == list(range(max(1, killed_in), 7))
    assert rungs == [rung for rung in (1, 3, 6) if rung >= killed_in]
    assert result.score == expected.score
    for name, tensor in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("schedule", "seed"),
    [(replace(SCHEDULE, batch_size=4), 3), (replace(SCHEDULE, epochs=7), 3), (SCHEDULE, 4)],
)
def test_another_training_begins_at_its_beginning(
    schedule: Schedule, seed: int, task: ClassificationTask, tmp_path: Path
) -> None:
    checkpoint = _always(tmp_path / "a.checkpoint")
    _train_until(4, task, checkpoint)
    whole, other = _model(), _model()
    expected = train(whole, task, schedule, seed=seed)
    assert train(other, task, schedule, seed=seed, checkpoint=checkpoint).score == expected.score
    for name, tensor in whole.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def _of_another_model(file: Path, task: ClassificationTask) -> None:
    checkpoint = _always(file)
    wider = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 2)
    )
    train(wider, task, SCHEDULE, seed=3, checkpoint=checkpoint)
    assert file.is_file()


@pytest.mark.parametrize("content", [None, b"", b"junk", "other"])
def test_what_is_no_checkpoint_of_this_training_is_none_or_an_error(
    content: bytes | str | None, task: ClassificationTask, tmp_path: Path
) -> None:
    file = tmp_path / "a.checkpoint"
    if content == "other":
        _of_another_model(file, task)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    expected = train(_model(), task, SCHEDULE, seed=3)
    needed = Checkpoint(file, needed=True)
    with pytest.raises(RunError, match=r"a\.checkpoint: expected where this training was interr"):
        train(_model(), task, SCHEDULE, seed=3, checkpoint=needed)
    assert train(_model(), task, SCHEDULE, seed=3, checkpoint=_always(file)).score == expected.score
    (tmp_path / ".a.checkpoint.123.abc").touch()  # as a kill in the midst of writing leaves
    needed.remove()
    assert list(tmp_path.iterdir()) == []


def test_writing_takes_a_small_part_of_the_time(task: ClassificationTask, tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1  # each writing takes one second
        return now[0]

    written = []
    checkpoint = Checkpoint(tmp_path / "a.checkpoint", most_often_s=10, clock=clock)

    def progress(epoch: int, _: float) -> None:
        written.append(checkpoint.path.stat().st_mtime_ns if checkpoint.path.exists() else None)

    train(
        _model(),
        task,
        replace(SCHEDULE, epochs=40),
        seed=3,
        progress=progress,
        checkpoint=checkpoint,
    )
    assert written[:10] == [None] * 10  # not in the first seconds
    assert 2 <= len(set(written[10:])) <= 3  # then each twentieth second at most
    checkpoint.remove()
    assert not checkpoint.path.exists()
