"""What a base network is, and the networks by name: one registration each, from spnas or from another package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from spnas.errors import ConfigError, InputError, ModelFileError
from spnas.names import near_miss

SCHEMA_VERSION = 1  # of the model yaml
Kind = Literal["detect", "classify"]


class Network(ABC):
    """A base network: how it is built, and how a model yaml tells it.

    Its sites are found by structure (`spnas.networks.sites`); it only has to build.

    Attributes:
        name: What it is called on the command line and in files.
        kind: The task it is for.
        default_imgsz: Height and width of its square input, pixels, where nothing else is said.
        imgsz_multiple: What an image size must be a multiple of, pixels.
        default_classes: Classes, where nothing else is said.
        latency_batch: Images in a forward that latency is measured with, where nothing else is said: 1, but more
            where one image is so small that a forward of it is all the framework's overhead.
    """

    name: str
    kind: Kind
    default_imgsz: int
    default_classes: int
    imgsz_multiple: int = 1
    latency_batch: int = 1

    def check_imgsz(self, imgsz: int) -> None:
        """Check that the network takes images of that size.

        Raises:
            ConfigError: It is not a multiple of `imgsz_multiple`, which a detector's pyramid needs.
        """
        if imgsz % self.imgsz_multiple:
            raise ConfigError(
                f"--imgsz: expected a multiple of {self.imgsz_multiple} for {self.name}, got {imgsz}"
            )

    @abstractmethod
    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the base network with fresh weights, on the CPU, in training mode."""

    def document(self, num_classes: int | None = None) -> dict[str, Any]:
        """Give the network's part of a model yaml."""
        return {"base": self.name, "num_classes": num_classes or self.default_classes}

    def mark(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Give the network's part such that a loader that does not know the `spnas` section fails on it."""
        return dict(document)

    def build_document(
        self, document: Mapping[str, Any], num_classes: int | None = None
    ) -> nn.Module:
        """Build the base network from its part of a model yaml, nothing else being in it.

        Args:
            document: What `document` gives.
            num_classes: Classes to build with instead.

        Raises:
            ModelFileError: One line for each key that is missing, unknown or has a wrong value.
        """
        check_keys(document, required={"base", "num_classes"})
        classes = document["num_classes"]
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ModelFileError(f"num_classes: expected a number of classes, got {classes!r}")
        return self.build(num_classes or classes)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<{type(self).__name__} {self.name}>"


_NETWORKS: dict[str, Network] = {}


def register_network(network: Network) -> None:
    """Make a base network known under its name.

    Raises:
        ValueError: The name is taken.
    """
    if network.name in _NETWORKS:
        raise ValueError(f"network {network.name!r} is registered already")
    _NETWORKS[network.name] = network


def network_names() -> list[str]:
    """List the registered base networks' names, in the order of their registration."""
    return list(_NETWORKS)


def get_network(name: str) -> Network:
    """Give the base network of that name.

    Raises:
        InputError: There is none; the message lists those there are.
    """
    if name not in _NETWORKS:
        raise InputError(
            f"unknown network {name!r}, expected one of: {', '.join(_NETWORKS)}{near_miss(name, _NETWORKS)}"
        )
    return _NETWORKS[name]


def check_keys(
    document: Mapping[str, Any], required: set[str], optional: frozenset[str] = frozenset()
) -> None:
    """Check that a mapping has the keys it must have and no other.

    Raises:
        ModelFileError: One line for each key that is missing or unknown.
    """
    keys = {str(key) for key in document}
    allowed = ", ".join(sorted(required | optional))
    missing = [f"{key}: missing" for key in sorted(required - keys)]
    unknown = [
        f"{key}: unknown key, allowed: {allowed}{near_miss(key, required | optional)}"
        for key in sorted(keys - required - optional)
    ]
    if missing or unknown:
        raise ModelFileError(missing + unknown)
