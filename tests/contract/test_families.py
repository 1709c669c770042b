"""Networks that are not registered: what their makers build takes operators by the same site listing and surgery.

docs/networks.md lists the same networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
import ultralytics.nn.tasks as tasks
from torch import Tensor, nn
from torchvision.models import segmentation
from torchvision.models.vgg import cfgs, make_layers

from spnas.architecture import Architecture, Choice
from spnas.latency.runtimes import get_runtime
from spnas.networks import apply_architecture, deploy_model, list_sites
from spnas.operators import Operator, refusal

CHOICES = (Choice.parse("ghost:0.5"), Choice.parse("spconv:0.5"))

# Ultralytics' model yamls: the class that builds them and the number of sites.
ULTRALYTICS: dict[str, tuple[str, int]] = {
    "yolov8n-seg": ("SegmentationModel", 47),
    "yolov8n-pose": ("PoseModel", 45),
    "yolov8n-obb": ("OBBModel", 45),
    "yolov8n-cls": ("ClassificationModel", 17),
    "yolov8n-p2": ("DetectionModel", 48),
    "yolov8n-p6": ("DetectionModel", 51),
    "yolov8n-ghost": ("DetectionModel", 19),
    "yolo11n-seg": ("SegmentationModel", 43),
    "yolo11n-pose": ("PoseModel", 41),
    "yolo11n-obb": ("OBBModel", 41),
    "yolo11n-cls": ("ClassificationModel", 17),
    "yolo12n-seg": ("SegmentationModel", 41),
    "yolo12n-pose": ("PoseModel", 39),
    "yolo12n-obb": ("OBBModel", 39),
    "yolo12n-cls": ("ClassificationModel", 9),
    "yolo26n": ("DetectionModel", 45),
    "yolo26n-seg": ("SegmentationModel", 62),
    "yolo26n-pose": ("PoseModel", 57),
    "yolo26n-obb": ("OBBModel", 57),
    "yolo26n-cls": ("ClassificationModel", 17),
    "yolo26n-sem": ("SemanticSegmentationModel", 27),
    "yolo26n-depth": ("DepthModel", 39),
    "yolov10n": ("DetectionModel", 34),
    "yolov9t": ("DetectionModel", 77),
    "yolov6n": ("DetectionModel", 49),
    "yolov5n": ("DetectionModel", 30),
    "yolov3-tiny": ("DetectionModel", 17),
    "rtdetr-resnet50": ("RTDETRDetectionModel", 19),
}
# One of each head and of each kind of block: an export takes as long as all the rest. RT-DETR is left out, it gives the
# best 300 queries in their order, which rounding changes in the base network likewise.
EXPORTED = [
    "yolov8n-seg",
    "yolo11n-cls",
    "yolo12n-pose",
    "yolo26n",
    "yolo26n-obb",
    "yolo26n-sem",
    "yolo26n-depth",
    "yolov10n",
    "yolov6n",
    "yolov3-tiny",
    "vgg11_bn",
]
TORCHVISION: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vgg11_bn": (
        lambda: make_layers(cfgs["A"], batch_norm=True),
        8,
    ),  # without its three huge layers
    "efficientnet_v2_s": (lambda: torchvision.models.efficientnet_v2_s(num_classes=7), 11),
    "fcn_resnet50": (partial(segmentation.fcn_resnet50, weights_backbone=None, num_classes=7), 18),
}
# Built like registered ones.
LARGER = {
    "resnet152": 51,
    "wide_resnet101_2": 34,
    "vgg11_bn": 8,
    "vgg13_bn": 10,
    "vgg19_bn": 16,
    "efficientnet_v2_m": 14,
    "efficientnet_v2_l": 19,
}
# Only the stem, or nothing: docs/networks.md says why.
NOTHING_TO_SEARCH = {
    "resnext50_32x4d": 1,
    "regnet_y_400mf": 1,
    "mobilenet_v2": 1,
    "mobilenet_v3_small": 1,
    "mnasnet0_5": 1,
    "efficientnet_b0": 1,
    "shufflenet_v2_x0_5": 1,
    "densenet121": 1,
    "alexnet": 0,
    "convnext_tiny": 0,
    "googlenet": 0,
    "inception_v3": 0,
    "squeezenet1_1": 0,
    "swin_t": 0,
    "vgg16": 0,
    "vit_b_16": 0,
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in ULTRALYTICS:
        make = getattr(tasks, ULTRALYTICS[name][0])
        model: nn.Module = make(f"{name}.yaml", nc=7, verbose=False)
        return model
    return TORCHVISION[name][0]()


def sites_of(name: str) -> int:
    return (ULTRALYTICS | TORCHVISION)[name][1]


def in_turn(model: nn.Module, first: int) -> Architecture:
    """The two choices in turn, the other one where a site refuses."""
    given = {}
    for place, site in enumerate(list_sites(model)):
        order = CHOICES if (place + first) % 2 == 0 else CHOICES[::-1]
        given[site.name] = next(choice for choice in order if refusal(choice, site) is None)
    return Architecture(given)


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of an output of any shape, the deployed one first."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for item in output.values() if isinstance(output, dict) else output:
            yield from tensors(item)


def images(count: int, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def settle(model: nn.Module) -> nn.Module:
    """Take BatchNorm statistics from some images, so that the output answers to the input; then eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images(12))
    return model.eval()


@torch.no_grad()
def output(model: nn.Module, x: Tensor) -> Tensor:
    return next(tensors(model.eval()(x)))


@pytest.fixture(autouse=True)
def _same_activation_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics leaves the activation of a yaml behind when it cannot build it."""
    monkeypatch.setattr(tasks.Conv, "default_act", tasks.Conv.default_act)


@pytest.mark.parametrize("name", [*ULTRALYTICS, *TORCHVISION])
def test_sites_take_operators_that_train_deploy_and_export(name: str) -> None:
    base = build(name)
    sites = list_sites(base)
    assert len(sites) == sites_of(name)

    untouched = apply_architecture(build(name), Architecture())
    assert all(map(torch.equal, base.state_dict().values(), untouched.state_dict().values()))
    x = images(2)
    shape = output(base, x).shape
    assert torch.equal(output(base, x), output(untouched, x))

    model = build(name)
    architecture = in_turn(model, first=len(name))
    assert len(architecture) == len(sites)
    apply_architecture(model, architecture)
    assert list_sites(model) == sites
    if name in ULTRALYTICS:
        # Ultralytics trains what it builds anew from this: it must not build the base network in silence.
        with pytest.raises(KeyError, match=r"needs: import spnas\.ultralytics"):
            type(model)(model.yaml, verbose=False)  # type: ignore[call-arg]
    assert_gradients_reach_operators(model)
    deployed = assert_deployed_form_is_exact(settle(model), x.double(), shape)
    if name in EXPORTED:
        with get_runtime("onnxruntime")(torch.device("cpu"), 1) as session:
            session.load(deployed.float(), x[:1])


def assert_gradients_reach_operators(model: nn.Module) -> None:
    sum(tensor.square().mean() for tensor in tensors(model.train()(images(2)))).backward()
    operators = [module for module in model.modules() if isinstance(module, Operator)]
    for operator in operators:
        for key, parameter in operator.named_parameters():
            assert parameter.grad is not None, (operator.site, key)
            assert torch.isfinite(parameter.grad).all(), (operator.site, key)
    model.zero_grad(set_to_none=True)


def assert_deployed_form_is_exact(model: nn.Module, x: Tensor, shape: torch.Size) -> nn.Module:
    model.double()
    deployed = deploy_model(model)
    kinds = (Operator, nn.modules.batchnorm._BatchNorm)
    assert not any(isinstance(module, kinds) for module in deployed.modules())
    expected = output(model, x)
    assert expected.shape == shape
    assert (expected - output(model, x.flip(3))).abs().max() > 1e-3 * expected.abs().max()
    torch.testing.assert_close(output(deployed, x), expected, rtol=1e-9, atol=1e-8)
    return deployed


@pytest.mark.parametrize("name", LARGER)
def test_larger_networks_have_sites_likewise(name: str) -> None:
    with torch.device("meta"):  # their weights are not needed
        sites = list_sites(getattr(torchvision.models, name)(weights=None))
    assert len(sites) == LARGER[name]


@pytest.mark.parametrize("name", NOTHING_TO_SEARCH)
def test_networks_with_nothing_to_search(name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    sites = list_sites(getattr(torchvision.models, name)(weights=None, **options))
    assert len(sites) == NOTHING_TO_SEARCH[name]
    assert all(site.in_channels == 3 for site in sites)
