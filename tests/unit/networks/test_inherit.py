"""Trained weights: what fits is loaded, what is another network's is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from spnas.errors import InputError
from spnas.networks import get_network, load_base_weights


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("open('ran', 'w').close()",))


def build(name: str, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return get_network(name).build(classes)


def save(model: nn.Module, folder: Path) -> Path:
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


@pytest.mark.parametrize("name", ["yolov8n", "resnet20-cifar"])
def test_weights_of_the_same_network_are_loaded_whole(name: str, tmp_path: Path) -> None:
    trained, model = build(name, 3, 0), build(name, 3, 1)
    assert load_base_weights(model, save(trained, tmp_path))
    states = trained.state_dict(), model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(("name", "head"), [("yolov8n", "model.22.cv3"), ("resnet20-cifar", "fc")])
def test_another_class_count_leaves_only_the_head_fresh(
    name: str, head: str, tmp_path: Path
) -> None:
    trained, model = build(name, 80, 0), build(name, 3, 1)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    assert not load_base_weights(model, save(trained, tmp_path))
    for key, value in model.state_dict().items():
        fits = trained.state_dict()[key].shape == value.shape
        assert fits or key.startswith(head)
        assert torch.equal(value, (trained.state_dict() if fits else fresh)[key])


@pytest.mark.parametrize(
    ("given", "own"),
    [("resnet34", "resnet18"), ("yolov8s", "yolov8n"), ("resnet20-cifar", "resnet18")],
)
def test_another_network_is_refused_with_counts(given: str, own: str, tmp_path: Path) -> None:
    path = save(build(given, 3, 0), tmp_path)
    model = build(own, 3, 1)
    with pytest.raises(InputError, match=r"another network: \d+ of this network's \d+ tensors"):
        load_base_weights(model, path)


def test_the_same_classes_with_another_shape_are_refused(tmp_path: Path) -> None:
    model = build("resnet20-cifar", 3, 0)
    state = model.state_dict() | {"layer1.0.conv1.weight": torch.zeros(8, 16, 3, 3)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="another network"):
        load_base_weights(model, tmp_path / "weights.pt")


def test_an_ultralytics_checkpoint_is_read(tmp_path: Path) -> None:
    trained, model = build("yolov8n", 3, 0), build("yolov8n", 3, 1)
    torch.save({"model": trained, "ema": None, "train_args": {}}, tmp_path / "best.pt")
    load_base_weights(model, tmp_path / "best.pt")
    key = "model.22.cv3.0.2.weight"
    assert torch.equal(model.state_dict()[key], trained.state_dict()[key])


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_file_of_something_else_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    for name in ("yolov8n", "resnet20-cifar"):
        with pytest.raises(InputError, match=r"weights: .*weights\.pt") as caught:
            load_base_weights(build(name, 3, 0), path)
        assert "weights_only" not in str(caught.value)  # torch's advice to run the file's code


def test_a_file_with_more_than_tensors_is_refused(tmp_path: Path) -> None:
    model = build("resnet20-cifar", 3, 0)
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="expected a dictionary of tensors, 'epoch' is none"):
        load_base_weights(model, tmp_path / "weights.pt")


def test_nothing_is_run_by_a_file_for_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Evil()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="not a file of weights"):
        load_base_weights(build("resnet20-cifar", 3, 0), tmp_path / "weights.pt")
    assert not (tmp_path / "ran").exists()
