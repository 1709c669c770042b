"""The values everything else speaks in: a site, a choice for it, an architecture.

Nothing here knows torch, so that a front can be read, compared and rewritten on any machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spnas.errors import ArchitectureError

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_ID_LENGTH = 8
_LARGEST = 1_000_000  # of any operator's parameters: what is more would only fill the memory


@dataclass(frozen=True, slots=True)
class ConvSite:
    """A searchable convolution of a base network: square kernel k > 1, groups 1.

    Attributes:
        name: Dotted path of its module in the base network, `model.3` or `layer1.0.conv2`.
        in_channels: Channels it reads.
        out_channels: Channels it writes.
        kernel_size: k of the k x k kernel.
        stride: Step in both directions.
        padding: Zero padding on each side.
        dilation: Spacing of the kernel's taps.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 1
    dilation: int = 1

    def __str__(self) -> str:
        """Tell the site as error messages do."""
        return (
            f"site {self.name} ({self.in_channels} -> {self.out_channels} channels, "
            f"{self.kernel_size}x{self.kernel_size}, stride {self.stride})"
        )


def _format_number(value: float) -> str:
    return f"{value:.12g}"


@dataclass(frozen=True, slots=True)
class Choice:
    """An operator with its parameters, hashable and equal by value.

    Attributes:
        op: The operator's registered name.
        params: Its parameters, sorted by name. `ratio` is the share of channels that the k x k convolution works on.

    Examples:
        >>> Choice.parse("spconv:0.25")
        Choice(op='spconv', params=(('ratio', 0.25),))
        >>> str(Choice.of("ghost", ratio=0.5))
        'ghost:0.5'
        >>> Choice.from_yaml({"op": "spconv", "ratio": 0.25}) == Choice.parse("spconv:0.25")
        True
    """

    op: str
    params: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, op: str, **params: float) -> Choice:
        """Make a choice from keyword parameters, checking names and numbers.

        Raises:
            ArchitectureError: The operator's name is not a name, or a parameter is not a number up to 1000000.
        """
        if not isinstance(op, str) or not _NAME.fullmatch(op):
            raise ArchitectureError(f"expected an operator name such as 'spconv', got {op!r}")
        for key, value in params.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not -_LARGEST <= value <= _LARGEST:
                raise ArchitectureError(
                    f"{op}: expected a number for {key}, got {value!r:.80}; allowed are those up to {_LARGEST}"
                )
        # Rounded as the text form is, so that a choice read back from a file equals the one written.
        rounded = {key: float(_format_number(value)) for key, value in params.items()}
        return cls(op, tuple(sorted(rounded.items())))

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read the text form: `regular`, `spconv:0.25`, or `op:name=value` for parameters other than the ratio.

        Raises:
            ArchitectureError: The text is not of that form.
        """
        op, *parts = text.strip().split(":")
        params: dict[str, float] = {}
        for part in parts:
            key, _, number = part.rpartition("=")
            key = key or "ratio"
            try:
                value = float(number)
            except ValueError:
                raise ArchitectureError(
                    f"expected a choice such as 'regular' or 'spconv:0.25', got {text!r}"
                ) from None
            if key in params:
                raise ArchitectureError(f"{text!r} gives {key} twice")
            params[key] = value
        return cls.of(op, **params)

    @classmethod
    def from_yaml(cls, value: Any) -> Choice:
        """Read the yaml form: a text, or a mapping `{op: spconv, ratio: 0.25}`.

        Raises:
            ArchitectureError: The value is neither.
        """
        if isinstance(value, str):
            return cls.parse(value)
        if (
            isinstance(value, Mapping)
            and isinstance(value.get("op"), str)
            and all(isinstance(k, str) for k in value)
        ):
            return cls.of(value["op"], **{key: item for key, item in value.items() if key != "op"})
        raise ArchitectureError(
            f"expected a choice such as 'regular' or {{op: spconv, ratio: 0.25}}, got {value!r:.80}"
        )

    def to_yaml(self) -> str | dict[str, str | float]:
        """Give the yaml form: the bare name where there are no parameters."""
        return {"op": self.op, **dict(self.params)} if self.params else self.op

    @property
    def kwargs(self) -> dict[str, float]:
        """The parameters as keyword arguments of the operator."""
        return dict(self.params)

    def __str__(self) -> str:
        """Give the text form used in CSV cells and as Optuna categories."""
        parts = [
            _format_number(value) if key == "ratio" else f"{key}={_format_number(value)}"
            for key, value in self.params
        ]
        return ":".join([self.op, *parts])


REGULAR = Choice("regular")


class Architecture(Mapping[str, Choice]):
    """A choice for each site of a base network; a site that is not named is regular.

    Two architectures are equal when they build the same network: the order of sites does not matter and a site set to
    `regular` counts as not named.

    Args:
        choices: Site name to choice, or to a choice's text form.

    Examples:
        >>> a = Architecture({"model.5": "spconv:0.25", "model.3": "regular"})
        >>> a == Architecture({"model.5": "spconv:0.250"}), a.is_base
        (True, False)
        >>> a["model.3"], str(a["model.5"])
        (Choice(op='regular', params=()), 'spconv:0.25')
    """

    def __init__(self, choices: Mapping[str, Choice | str] | None = None) -> None:
        parsed = {
            site: Choice.parse(choice) if isinstance(choice, str) else choice
            for site, choice in (choices or {}).items()
        }
        self._choices = {site: parsed[site] for site in sorted(parsed) if parsed[site] != REGULAR}

    @classmethod
    def from_yaml(cls, value: Any) -> Architecture:
        """Read a mapping of site names to choices in yaml form.

        Raises:
            ArchitectureError: One line for every entry that cannot be read.
        """
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            raise ArchitectureError(f"expected a mapping of sites to choices, got {value!r}")
        choices: dict[str, Choice] = {}
        problems: list[str] = []
        for site, item in value.items():
            try:
                choices[str(site)] = Choice.from_yaml(item)
            except ArchitectureError as error:
                problems += [f"site {site}: {problem}" for problem in error.problems]
        if problems:
            raise ArchitectureError(problems)
        return cls(choices)

    @classmethod
    def from_text(cls, text: str) -> Architecture:
        """Read the canonical text back.

        Raises:
            ArchitectureError: The text is not of the form `site=choice site=choice`.
        """
        pairs = [part.partition("=") for part in text.split()]
        if not all(site and choice for site, _, choice in pairs):
            raise ArchitectureError(f"expected 'site=choice' separated by spaces, got {text!r}")
        return cls({site: choice for site, _, choice in pairs})

    def to_yaml(self) -> dict[str, str | dict[str, str | float]]:
        """Give site names to choices in yaml form, non-regular sites only, sorted."""
        return {site: choice.to_yaml() for site, choice in self._choices.items()}

    @property
    def is_base(self) -> bool:
        """Whether every site is regular, so that the network is the base network itself."""
        return not self._choices

    @property
    def text(self) -> str:
        """The canonical text: `site=choice` of every non-regular site, sorted."""
        return " ".join(f"{site}={choice}" for site, choice in self._choices.items())

    @property
    def id(self) -> str:
        """A short hash of the canonical text, equal for equal architectures in any process."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:_ID_LENGTH]

    def __getitem__(self, site: str) -> Choice:
        """Give the site's choice, regular for any site that is not named."""
        return self._choices.get(site, REGULAR)

    def __contains__(self, site: object) -> bool:
        """Whether the site has an operator other than the regular one."""
        return site in self._choices

    def __iter__(self) -> Iterator[str]:
        """Iterate over the sites that are not regular, sorted."""
        return iter(self._choices)

    def __len__(self) -> int:
        """Count the sites that are not regular."""
        return len(self._choices)

    def __eq__(self, other: object) -> bool:
        """Compare by what would be built."""
        return isinstance(other, Architecture) and self._choices == other._choices

    def __hash__(self) -> int:
        """Hash by the canonical text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Show the canonical text."""
        return f"Architecture({self.text!r})"
