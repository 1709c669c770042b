"""The model yaml: a network written out whole, with the operators at its sites."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from spnas.architecture import Architecture
from spnas.errors import ArchitectureError, InputError, ModelFileError
from spnas.names import shown
from spnas.networks.base import SCHEMA_VERSION, Network, check_keys, get_network
from spnas.networks.deploy import set_forms
from spnas.networks.guard import guarded_build
from spnas.networks.surgery import apply_architecture

_OWN_KEYS = {"schema_version", "spnas", "metrics", "provenance"}


@dataclass(frozen=True)
class ModelDocument:
    """A model yaml that has been read.

    Attributes:
        network: The base network.
        network_part: What of the yaml tells the base network.
        architecture: The operators.
        forms: Site name to the deployed form that was measured as the fastest; defaults left out.
        document: The whole yaml.
    """

    network: Network
    network_part: dict[str, Any]
    architecture: Architecture
    forms: dict[str, str]
    document: dict[str, Any]

    @property
    def num_classes(self) -> int:
        """Classes that it is built with where nothing else is said."""
        return int(self.network_part["nc" if "nc" in self.network_part else "num_classes"])

    def with_classes(self, num_classes: int) -> dict[str, Any]:
        """Give the whole yaml for another number of classes."""
        key = "nc" if "nc" in self.network_part else "num_classes"
        return {**self.document, key: num_classes}

    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the model with fresh weights, on the CPU, in training mode.

        Raises:
            ModelFileError: The base network cannot be built from the yaml, or cannot take the architecture.
        """
        with guarded_build():
            model = self.network.build_document(self.network_part, num_classes)
            self.apply(model)
        config = getattr(model, "yaml", None)
        if isinstance(config, dict):
            config.update(
                copy.deepcopy({k: v for k, v in self.document.items() if k not in config})
            )
        return model

    def apply(self, model: nn.Module, *, inherit: bool = False) -> None:
        """Put the operators into a base network, in place, each set to its deployed form.

        Args:
            model: The base network.
            inherit: Let the operators start from the weights that they replace.

        Raises:
            ModelFileError: The network cannot take them.
        """
        for key, put in (
            ("sites", lambda: apply_architecture(model, self.architecture, inherit=inherit)),
            ("forms", lambda: set_forms(model, self.forms)),
        ):
            try:
                put()
            except ArchitectureError as error:
                raise ModelFileError(
                    [f"spnas.{key}: {problem}" for problem in error.problems]
                ) from None


def model_document(
    network: Network,
    num_classes: int,
    architecture: Architecture,
    forms: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Give a model yaml's content, complete less `metrics` and `provenance`."""
    part = network.document(num_classes)
    return {
        "schema_version": SCHEMA_VERSION,
        **(part if architecture.is_base else network.mark(part)),
        "spnas": {
            "base": network.name,
            "sites": architecture.to_yaml(),
            **({"forms": dict(forms)} if forms else {}),
        },
    }


def parse_document(document: Mapping[str, Any]) -> ModelDocument:
    """Read a model yaml's content.

    Raises:
        ModelFileError: One line for each key that is missing or has a wrong value.
    """
    version, section = document.get("schema_version"), document.get("spnas")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ModelFileError(f"schema_version: expected {SCHEMA_VERSION}, got {shown(version)}")
    if not isinstance(section, Mapping):
        raise ModelFileError(
            f"spnas: expected a mapping with base and sites, got {shown(section):.80}"
        )
    try:
        check_keys(section, required={"base", "sites"}, optional=frozenset({"forms"}))
        network = get_network(str(section["base"]))
        architecture = Architecture.from_yaml(section["sites"])
    except InputError as error:
        raise ModelFileError([f"spnas.{problem}" for problem in _located(error)]) from None
    forms = section.get("forms", {})
    if not isinstance(forms, Mapping) or not all(isinstance(form, str) for form in forms.values()):
        raise ModelFileError(
            f"spnas.forms: expected a mapping of sites to names, got {forms!r:.80}"
        )
    part = {key: value for key, value in document.items() if key not in _OWN_KEYS}
    if "base" in part and part["base"] != network.name:
        raise ModelFileError(f"base: {part['base']!r} is not spnas.base, which is {network.name!r}")
    named = {str(site): form for site, form in forms.items()}
    return ModelDocument(network, part, architecture, named, dict(document))


def _located(error: InputError) -> list[str]:
    """Name the key of the spnas section that an error is about."""
    if isinstance(error, ModelFileError):
        return error.problems
    key = "sites" if isinstance(error, ArchitectureError) else "base"
    return [f"{key}: {problem}" for problem in error.problems]
