"""The registry, and the documentation's example of registering an operator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spnas.architecture import Choice, ConvSite
from spnas.errors import ArchitectureError
from spnas.operators import (
    Host,
    build_operator,
    choice_problem,
    get_operator,
    operator_names,
    refusal,
    register_operator,
    registry,
)
from spnas.operators.spconv import SPConv

SITE = ConvSite("model.3.conv", 8, 8, 3, 2)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations made by the test end with it."""
    monkeypatch.setattr(registry, "_OPERATORS", dict(registry._OPERATORS))


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match=r"'spconv' is registered already, by spnas\.operators"):
        register_operator(SPConv)
    assert get_operator("spconv") is SPConv


def test_unknown_operator_lists_those_there_are() -> None:
    known = ", ".join(operator_names())
    assert "ghost, " in known
    with pytest.raises(
        ArchitectureError, match=f"'spkonv', expected one of: {known} \\(did you mean spconv"
    ):
        get_operator("spkonv")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spkonv:0.5", "unknown operator 'spkonv'"),
        ("regular:0.5", "regular: unknown parameter ratio, allowed: none"),
        ("ghost:alpha=0.5", "ghost: unknown parameter alpha, allowed: ratio"),
        ("spconv", "spconv: parameter ratio is missing"),
    ],
)
def test_wrong_choices(text: str, problem: str) -> None:
    choice = Choice.parse(text)
    assert problem in str(choice_problem(choice))
    assert problem in str(refusal(choice, SITE))
    with pytest.raises(ArchitectureError, match=r"site model\.3\.conv .*" + re.escape(problem)):
        build_operator(choice, SITE, Host())


def test_an_invalid_parameter_is_the_sites_refusal() -> None:
    choice = Choice.of("spconv", ratio=1.5)
    assert choice_problem(choice) is None
    assert refusal(choice, SITE) == "expected a ratio between 0 and 1, got 1.5"
    with pytest.raises(ArchitectureError) as caught:
        build_operator(choice, SITE, Host())
    assert str(caught.value) == (
        "site model.3.conv (8 -> 8 channels, 3x3, stride 2): spconv cannot take it: "
        "expected a ratio between 0 and 1, got 1.5"
    )


@pytest.mark.usefixtures("own_registry")
def test_the_documented_example_registers_a_working_operator(repo_root: Path) -> None:
    page = (repo_root / "docs" / "operators" / "index.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "documented_example"}
    exec(compile(example, "docs/operators/index.md", "exec"), names)

    assert "separable" in operator_names()
    choice = Choice.parse("separable")
    operator = build_operator(choice, SITE, Host(nn.SiLU())).double()
    conv, bn = nn.Conv2d(8, 8, 3, 2, 1, bias=False).double(), nn.BatchNorm2d(8).double()
    operator.inherit(conv, bn)
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    operator(x)  # moves the running statistics
    operator.eval()
    assert operator(x).shape == conv(x).shape
    torch.testing.assert_close(operator.deploy()(x), operator(x))
    assert "dilation" in str(refusal(choice, ConvSite("a", 8, 8, 3, 1, 2, 2)))
