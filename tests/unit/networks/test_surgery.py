"""Surgery changes what it was asked to change, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.architecture import Architecture
from spnas.errors import ArchitectureError
from spnas.networks import apply_architecture, deploy_model, get_network, list_sites
from spnas.operators import Operator

TWO = Architecture({"layer1.0.conv1": "ghost:0.5", "layer2.0.conv2": "spconv:0.25"})


def cifar(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return get_network("resnet20-cifar").build(4)


def test_every_problem_is_told_and_nothing_is_changed() -> None:
    model = cifar()
    wrong = Architecture(
        {"layer1.0.conv9": "ghost:0.5", "conv1": "spconv:0.25", "layer1.0.conv1": "warp:0.5"}
    )
    with pytest.raises(ArchitectureError) as caught:
        apply_architecture(model, Architecture({**wrong, **TWO, "layer1.0.conv1": "warp:0.5"}))
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "unknown site layer1.0.conv9: did you mean layer1.0.conv" in text
    assert "site conv1 (3 -> 16 channels" in text
    assert "unknown operator 'warp'" in text
    assert not any(isinstance(module, Operator) for module in model.modules())


def test_a_replaced_site_is_not_replaced_again() -> None:
    model = apply_architecture(cifar(), TWO)
    with pytest.raises(ArchitectureError, match=r"layer1\.0\.conv1 holds an operator already"):
        apply_architecture(model, TWO)


def test_what_is_not_replaced_is_untouched() -> None:
    model = cifar()
    kept = {name: module for name, module in model.named_modules() if list(module.parameters())}
    apply_architecture(model, TWO)
    replaced = {"layer1.0.conv1", "layer1.0.bn1", "layer2.0.conv2", "layer2.0.bn2"}
    for name, module in kept.items():
        same = name not in replaced and model.get_submodule(name) is module
        assert same == (name not in replaced), name
    assert isinstance(model.get_submodule("layer1.0.bn1"), nn.Identity)


def test_device_dtype_mode_and_requires_grad_are_kept() -> None:
    model = cifar().double().eval()
    model.get_submodule("layer1").requires_grad_(False)
    apply_architecture(model, TWO)
    frozen, trained = (model.get_submodule(name) for name in TWO)
    for operator in (frozen, trained):
        assert not any(module.training for module in operator.modules())
        assert all(p.dtype == torch.float64 for p in operator.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in trained.parameters())


def test_inherited_weights_come_from_the_base_and_fresh_ones_from_the_seed() -> None:
    def state(base_seed: int, seed: int, inherit: bool) -> list[torch.Tensor]:
        model = cifar(base_seed)
        torch.manual_seed(seed)
        operator = apply_architecture(model, TWO, inherit=inherit).get_submodule("layer1.0.conv1")
        return [operator.primary.weight]

    same = lambda a, b: all(map(torch.equal, a, b))  # noqa: E731
    assert same(state(0, 1, True), state(0, 2, True))
    assert not same(state(0, 1, True), state(5, 1, True))
    assert same(state(0, 1, False), state(5, 1, False))
    assert not same(state(0, 1, False), state(0, 2, False))


def test_ultralytics_layers_stay_in_place() -> None:
    base = get_network("yolov8n").build(3)
    old = vars(base.get_submodule("model.3"))
    model = apply_architecture(base, Architecture({"model.3": "spconv:0.25"}))
    new = model.get_submodule("model.3")
    assert (new.i, new.f) == (old["i"], old["f"])
    assert vars(new)["type"] == "spnas.operators.spconv.SPConv"
    assert new.np == sum(p.numel() for p in new.parameters()) < old["np"]
    # Ultralytics' own attribute, copied by name: a bound method here would keep the old layer in every checkpoint.
    assert not any(callable(vars(module).get("type")) for module in model.modules())
    norms = [module for module in new.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}
    assert new.conv.in_channels == 32


def test_the_yaml_of_a_yolo_says_what_was_done() -> None:
    model = get_network("yolov8n").build(3)
    assert model.yaml["spnas"] == {"base": "yolov8n", "sites": {}}
    apply_architecture(model, Architecture({"model.3": "spconv:0.25"}))
    assert model.yaml["spnas"]["sites"] == {"model.3": {"op": "spconv", "ratio": 0.25}}
    assert model.yaml["backbone"][0][2] == "Conv (needs: import spnas.ultralytics)"


def test_deploying_leaves_the_model_as_it_was() -> None:
    model = apply_architecture(cifar(), TWO).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    deployed = deploy_model(model)
    assert model.training
    assert not deployed.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert len(list_sites(model)) == 19
