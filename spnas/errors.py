"""Every error spnas raises on purpose.

The tree::

    SpnasError
    +-- InputError (ValueError)    something the user gave cannot be used; the command line answers with exit code 2
    |   +-- ArchitectureError      a choice or an architecture that a network cannot take
    |   +-- SpaceError             a search space file
    |   +-- ModelFileError         a model yaml
    |   +-- DataError              a data set
    |   +-- DeviceError            a device this machine does not have
    |   +-- BudgetError            a budget that cannot be read, or too small for anything
    |   +-- ConfigError            a search option
    |   +-- RunError               a run directory: it exists, does not exist, or is incomplete
    +-- SpaceExhaustedError        every architecture of a search space has been proposed
    +-- TrainingError              a training that diverged (a loss that is not finite)
    +-- DeviceLostError            the node that latency is measured on is gone
"""

from __future__ import annotations

from collections.abc import Sequence


class SpnasError(Exception):
    """Base of every error that spnas raises on purpose."""


def _printable(text: str) -> str:
    """Escape line ends and what moves a terminal's cursor: problems quote files that strangers may have written."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(SpnasError, ValueError):
    """Something the user gave cannot be used.

    Args:
        problems: One line, or one line for each problem found, each saying what was expected, what was got and where.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        given = [problems] if isinstance(problems, str) else problems
        self.problems = [_printable(problem) for problem in given]
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[str]]]:
        """Pickle by the list of problems, so that the error crosses processes whole."""
        return type(self), (self.problems,)


class ArchitectureError(InputError):
    """A choice or an architecture that a network cannot take."""


class SpaceError(InputError):
    """A search space file that cannot be used."""


class ModelFileError(InputError):
    """A model yaml that cannot be used."""


class DataError(InputError):
    """A data set that cannot be trained on."""


class DeviceError(InputError):
    """A device this machine does not have."""


class BudgetError(InputError):
    """A budget that cannot be read, or that is too small for anything."""


class ConfigError(InputError):
    """A search option that cannot be used."""


class RunError(InputError):
    """A run directory that exists already, does not exist, or is incomplete."""


class SpaceExhaustedError(SpnasError):
    """Every architecture of a search space has been proposed."""


class TrainingError(SpnasError):
    """A training that diverged: its loss is not a finite number."""


class WorkerLostError(SpnasError):
    """A process that worked for a search died, of the machine's doing: it may succeed another time."""


class DeviceLostError(SpnasError):
    """The node that latency is measured on is gone; it may come back."""
