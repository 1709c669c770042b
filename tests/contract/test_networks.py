"""What every base network must do: list its sites, take operators, train, copy, deploy and export."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
import torchvision
from torch import Tensor, nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from spnas.architecture import Architecture, Choice
from spnas.networks import (
    apply_architecture,
    deploy_model,
    get_network,
    list_sites,
    network_names,
)
from spnas.operators import Operator, refusal

# name: (searchable convolutions, parameters). Sites counted by hand from the papers' tables: YOLOv8 has 7 strided
# convolutions, 12 in the head and 2 in each bottleneck; parameters as Ultralytics and torchvision print them.
FACTS = {
    "yolov8n": (39, 3157200),
    "yolov8s": (39, 11166560),
    "yolov8m": (59, 25902640),
    "yolov8l": (79, 43691520),
    "yolov8x": (79, 68229648),
    "yolo11n": (35, 2624080),
    "yolo11s": (35, 9458752),
    "yolo11m": (45, 20114688),
    "yolo11l": (77, 25372160),
    "yolo11x": (77, 56966176),
    "yolo12n": (33, 2602288),
    "yolo12s": (33, 9284096),
    "yolo12m": (37, 20199168),
    "yolo12l": (61, 26450784),
    "yolo12x": (61, 59210784),
    "resnet18": (17, 11689512),
    "resnet34": (33, 21797672),
    "resnet50": (17, 25557032),
    "resnet101": (34, 44549160),
    "wide_resnet50_2": (17, 68883240),
    "vgg16_bn": (13, 138365992),
    "efficientnet_v2_s": (11, 21458488),
    "resnet20-cifar": (19, 272474),
    "resnet56-cifar": (55, 855770),
    "vgg16-cifar": (13, 14991946),
}
SMALL = ["yolov8n", "yolo11n", "yolo12n", "resnet18", "resnet50", "resnet20-cifar", "vgg16-cifar"]
CHOICES = ["ghost:0.5", "spconv:0.25"]
REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "yolov8n": lambda: DetectionModel("yolov8n.yaml", nc=7, verbose=False),
    "yolo11m": lambda: DetectionModel("yolo11m.yaml", nc=7, verbose=False),
    "yolo12l": lambda: DetectionModel("yolo12l.yaml", nc=7, verbose=False),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=7),
    "resnet50": lambda: torchvision.models.resnet50(num_classes=7),
}


def uniform(model: nn.Module, choice: str) -> Architecture:
    """The choice at every site that can take it."""
    parsed = Choice.parse(choice)
    return Architecture(
        {site.name: parsed for site in list_sites(model) if refusal(parsed, site) is None}
    )


def searched(name: str, choice: str) -> nn.Module:
    torch.manual_seed(0)
    model = get_network(name).build(7)
    return apply_architecture(model, uniform(model, choice))


def settle(model: nn.Module, images: Tensor) -> nn.Module:
    """Take BatchNorm statistics from some images, so that the output answers to the input; then eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def output(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        result = model.eval()(images)
    return result[0] if isinstance(result, tuple) else result


def pixels(count: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_every_network_is_tested() -> None:
    assert list(FACTS) == network_names()


@pytest.mark.parametrize("name", FACTS)
def test_sites_and_parameters(name: str) -> None:
    network = get_network(name)
    model = network.build()
    sites = list_sites(model)
    assert (len(sites), sum(p.numel() for p in model.parameters())) == FACTS[name]
    assert len({site.name for site in sites}) == len(sites)
    for site in sites:
        module = model.get_submodule(site.name)
        weight = getattr(module, "conv", module).weight
        shape = (site.out_channels, site.in_channels, site.kernel_size, site.kernel_size)
        assert tuple(weight.shape) == shape


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_activation_is_silu_whatever_ultralytics_was_left_with(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [type(module) for module in get_network(name).build(7).modules()]
    monkeypatch.setattr(Conv, "default_act", nn.ReLU())
    assert [type(module) for module in get_network(name).build(7).modules()] == expected
    assert isinstance(Conv.default_act, nn.ReLU)


@pytest.mark.parametrize("name", REFERENCES)
def test_all_regular_is_the_base_bit_for_bit(name: str) -> None:
    torch.manual_seed(3)
    reference = REFERENCES[name]()
    torch.manual_seed(3)
    model = apply_architecture(get_network(name).build(7), Architecture())
    expected, got = reference.state_dict(), model.state_dict()
    assert list(expected) == list(got)
    assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert torch.equal(output(reference, pixels()), output(model, pixels()))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("choice", CHOICES)
def test_operators_take_the_sites(name: str, choice: str) -> None:
    torch.manual_seed(0)
    base = get_network(name).build(7)
    model = searched(name, choice)
    assert list_sites(model) == list_sites(base)
    assert output(model, pixels()).shape == output(base, pixels()).shape
    common = base.state_dict().keys() & model.state_dict().keys()
    assert len(common) > 5
    assert all(torch.equal(base.state_dict()[key], model.state_dict()[key]) for key in common)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("choice", CHOICES)
def test_deployed_form_is_exact(name: str, choice: str) -> None:
    images = pixels(dtype=torch.float64)
    model = settle(searched(name, choice).double(), images)
    deployed = deploy_model(model)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in deployed.modules())
    assert not any(isinstance(m, Operator) for m in deployed.modules())
    expected = output(model, images)
    other = output(model, images.flip(3))
    assert (expected - other).abs().max() > 1e-3 * expected.abs().max()
    torch.testing.assert_close(output(deployed, images), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["yolov8n", "resnet20-cifar"])
@pytest.mark.parametrize("choice", CHOICES)
def test_trains_copies_pickles_and_goes_half(name: str, choice: str) -> None:
    model = searched(name, choice).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    result = model(pixels())
    tensors = [result] if isinstance(result, Tensor) else [result["boxes"], result["scores"]]
    sum(tensor.square().mean() for tensor in tensors).backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert all("dfl" in key for key in idle), idle
    optimizer.step()

    # A few images give 2 x 2 maps poor statistics; uniform SPConv multiplies these up to an overflow in half.
    expected = output(settle(model, pixels(64)), pixels())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(output(other, pixels()), expected)
    half = output(copy.deepcopy(model).half(), pixels().half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(
        half.float(), expected, rtol=0.05, atol=0.05 * float(expected.abs().max())
    )


def test_exports_to_onnx(tmp_path: Path) -> None:
    """ResNets by torch; YOLOv8 is exported by Ultralytics itself in tests/e2e/test_ultralytics.py."""
    base = get_network("resnet20-cifar").build(7)
    sites = [site.name for site in list_sites(base)]
    mixed = Architecture(dict(zip(sites, CHOICES[:1] + CHOICES * 9, strict=True)))
    model = deploy_model(settle(apply_architecture(base, mixed), pixels(8)))
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (pixels(1),), path, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: pixels(1).numpy()})[0]
    expected = output(model, pixels(1))
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-3, atol=1e-3)
