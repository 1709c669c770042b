"""Parameters as one vector: an optimizer on it does what it does on each, and nothing of it stays."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from spnas.training.flat import laid_flat


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))
    model(torch.rand(2, 3, 8, 8))
    return model.to(memory_format=torch.channels_last)


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, clipped: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        optimizer.zero_grad(set_to_none=False)
        model(torch.rand(4, 3, 8, 8, generator=generator)).square().sum().backward()
        nn.utils.clip_grad_norm_(clipped, 1.0)
        optimizer.step()


def test_a_step_on_the_vector_is_the_step_on_each_parameter() -> None:
    reference, model = _model(), _model()
    each = list(reference.parameters())
    _steps(reference, torch.optim.AdamW(each, lr=0.01, weight_decay=0.1, fused=True), each)
    with laid_flat(model.parameters()) as vector:
        assert vector.numel() == sum(parameter.numel() for parameter in each)
        _steps(model, torch.optim.AdamW([vector], lr=0.01, weight_decay=0.1, fused=True), [vector])
    for expected, parameter in zip(each, model.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-5)
        assert parameter.stride() == expected.stride()
        assert parameter.grad is None
    moved = zip(_model().parameters(), model.parameters(), strict=True)
    assert all((before - after).abs().max() > 1e-3 for before, after in moved)


def test_parameters_that_are_not_dense_keep_to_themselves() -> None:
    model = nn.Module()
    model.a = nn.Parameter(torch.rand(3, 8)[:, ::2])
    model.b = nn.Parameter(torch.rand(1, 4).expand(3, 4))
    model.c = nn.Parameter(torch.rand(5, 3).T)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with laid_flat(model.parameters()) as vector:
        for parameter, values in zip(model.parameters(), before, strict=True):
            assert torch.equal(parameter, values)
        with torch.no_grad():
            vector += 1
    for parameter, values in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, values + 1)


def test_in_the_end_each_has_its_own_storage_even_after_an_error() -> None:
    model = _model()
    with pytest.raises(KeyboardInterrupt), laid_flat(model.parameters()):
        raise KeyboardInterrupt
    file = io.BytesIO()
    torch.save(model[1].weight, file)
    other = io.BytesIO()
    torch.save(_model()[1].weight, other)
    assert len(file.getvalue()) == len(other.getvalue())
    assert torch.equal(model[0].weight, _model()[0].weight)
