"""1x1 convolutions on one thread: which kernel torch really runs, by its profiler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from spnas.latency import deploy
from spnas.latency.runtimes.pointwise import route_pointwise

ONEDNN, PRODUCT = "aten::mkldnn_convolution", "aten::_slow_conv2d_forward"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def kernels(network: nn.Module, image: Tensor) -> set[str]:
    """Run a network and give the kernels of its convolutions."""
    with torch.inference_mode(), torch.profiler.profile() as profile:
        network(image)
    names = {event.key for event in profile.key_averages()}
    return {name for name in names if name in (ONEDNN, PRODUCT, "aten::slow_conv_dilated2d")}


@pytest.mark.parametrize(
    ("images", "channels", "size", "expected"),
    [
        (1, 64, 40, ONEDNN),
        (2, 64, 20, ONEDNN),
        (1, 16, 20, PRODUCT),  # too small an input for torch to hand over
    ],
)
def test_a_large_input_goes_to_onednn(images: int, channels: int, size: int, expected: str) -> None:
    conv = nn.Conv2d(channels, 32, 1).eval()
    image = torch.rand(images, channels, size, size)
    before, result = kernels(conv, image), conv(image)
    route_pointwise(conv, image)
    assert (before, kernels(conv, image)) == ({PRODUCT}, {expected})
    torch.testing.assert_close(conv(image), result, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 1, stride=2),
        nn.Conv2d(64, 64, 1, groups=2),
        nn.Conv2d(64, 64, 1, padding=1),
    ],
    ids=["3x3", "strides", "groups", "padding"],
)
def test_other_convolutions_stay_as_they_are(conv: nn.Conv2d) -> None:
    route_pointwise(conv.eval(), torch.rand(1, 64, 40, 40))
    assert conv.dilation == (1, 1)
    assert not conv._forward_pre_hooks


def test_many_images_go_to_onednn_anyway() -> None:
    conv, images = nn.Conv2d(64, 64, 1).eval(), torch.rand(16, 64, 40, 40)
    assert kernels(conv, images) == {ONEDNN}
    route_pointwise(conv, images)
    assert conv.dilation == (1, 1)


def test_a_model_deployed_for_torch_is_what_was_measured() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1)).eval()
    image = torch.rand(1, 3, 90, 90)
    for runtime, expected in (("torch", {ONEDNN}), ("onnxruntime", {ONEDNN, PRODUCT})):
        deployed = deploy(model, image, "cpu", runtime=runtime)
        assert kernels(deployed, image) == expected
    assert model[1].dilation == (1, 1)
