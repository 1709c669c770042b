"""Which deployed form each operator of a network gets: the one that is fastest where the network will run."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spnas.device import resolve_device
from spnas.latency.isolation import device_lock
from spnas.latency.layers import LayerTimer
from spnas.latency.runtimes.pointwise import route_pointwise
from spnas.networks.deploy import deploy_model, find_operators
from spnas.operators import Operator


def deploy(
    model: nn.Module,
    example: Tensor,
    device: str | torch.device = "auto",
    *,
    runtime: str | None = None,
    threads: int = 1,
) -> nn.Module:
    """Give a model's deployed form for a device: every BatchNorm folded, each operator in its fastest form there.

    Operators that have several exact deployed forms, such as SPConv, are timed in all that apply, once for each
    distinct layer; the times are kept in the user's cache folder. For torch on one CPU thread, 1x1 convolutions go
    to oneDNN.

    Args:
        model: The model, in any mode; it is left as it is.
        example: An input `(N, C, H, W)` such as the deployed model will get.
        device: Where it will run: `auto`, `cpu`, `cuda` or `mps`.
        runtime: What it will run in, such as `onnxruntime`; the device's default where None.
        threads: CPU threads that it will run with.

    Returns:
        A new model in eval mode, on the model's device, equal to it in eval mode up to rounding.

    Raises:
        DeviceError: There is no such device.
        ConfigError: The runtime does not run on it.
    """
    where = resolve_device(str(device))
    timer = LayerTimer(
        where, runtime=runtime, threads=threads, exclusive=device_lock(where).exclusive
    )
    chosen = copy.deepcopy(model)
    choose_forms(chosen, example, timer)
    deployed = deploy_model(chosen)
    if timer.runtime == "torch" and where.type == "cpu" and threads == 1:
        route_pointwise(deployed, example.to(next(deployed.parameters())))
    return deployed


def choose_forms(model: nn.Module, example: Tensor, timer: LayerTimer) -> dict[str, str]:
    """Set each operator of a model, in place, to the deployed form that is fastest on the timer's device.

    Args:
        model: The training form.
        example: An input `(N, C, H, W)`.
        timer: Knows or measures what each form takes.

    Returns:
        Site name to form, of the operators that are set to another form than their default.
    """
    operators = find_operators(model)
    shapes = input_shapes(model, example)
    for name, operator in operators.items():
        forms = operator.forms(shapes[name])
        operator.form = forms[0] if len(forms) == 1 else timer.time(operator, shapes[name]).form
    return {
        name: operator.form
        for name, operator in operators.items()
        if operator.form != operator.forms(shapes[name])[0]
    }


def keep_possible_forms(model: nn.Module, example: Tensor) -> None:
    """Set operators, in place, whose form does not apply to what they read to their default one.

    Args:
        model: The training form.
        example: An input `(N, C, H, W)`, such as one of another size than the forms were chosen for.
    """
    shapes = input_shapes(model, example)
    for name, operator in find_operators(model).items():
        forms = operator.forms(shapes[name])
        if operator.form not in forms:
            operator.form = forms[0]


@torch.no_grad()
def input_shapes(
    model: nn.Module,
    example: Tensor,
    wanted: Callable[[str, nn.Module], bool] = lambda _, module: isinstance(module, Operator),
) -> dict[str, torch.Size]:
    """Give the shape `(N, C, H, W)` of what modules read in a forward of the example, by their names.

    Args:
        model: A network; the forward is run on a copy in eval mode.
        example: An input `(N, C, H, W)`.
        wanted: Tells by name and module which modules; operators by default.
    """
    network = copy.deepcopy(model).eval()
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: shapes.update({name: inputs[0].shape})

    for name, module in network.named_modules():
        if wanted(name, module):
            module.register_forward_pre_hook(note(name))
    network(example.to(next(network.parameters()).device))
    return shapes
