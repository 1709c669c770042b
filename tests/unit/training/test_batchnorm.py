"""Re-estimated BatchNorm statistics are those of the data."""

from __future__ import annotations

import torch
from torch import nn

from spnas.training import reestimate_batchnorm


def test_statistics_equal_those_of_the_population() -> None:
    torch.manual_seed(0)
    images = torch.randn(48, 3, 6, 6) * 3 + 2
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )
    model(images * 100)  # statistics of something else
    batches = images.split(12)
    reestimate_batchnorm(model.eval(), batches)

    first = model[0](images)
    torch.testing.assert_close(model[1].running_mean, first.mean((0, 2, 3)))
    mean_of_variances = torch.stack([model[0](b).var((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(model[1].running_var, mean_of_variances)

    # The layer after sees what the first one normalizes by each batch's own statistics.
    def second(batch: torch.Tensor) -> torch.Tensor:
        x = model[0](batch)
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (
            x.var((0, 2, 3), False, keepdim=True) + 1e-5
        ).sqrt()
        return model[3](x.relu())

    expected = torch.stack([second(batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model[4].running_mean, expected)


def test_mode_momentum_and_weights_are_kept() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.03)).eval()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    reestimate_batchnorm(model, [torch.rand(4, 3, 5, 5)])
    assert not model.training
    assert model[1].momentum == 0.03
    assert all(torch.equal(weights[name], value) for name, value in model.named_parameters())
    assert all(value.grad is None for value in model.parameters())


def test_a_model_without_batchnorm_is_left_alone() -> None:
    model = nn.Conv2d(3, 4, 1)
    reestimate_batchnorm(model, [torch.rand(1, 3, 5, 5)])
    assert model.training
