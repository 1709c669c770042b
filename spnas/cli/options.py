"""What more than one subcommand says of an option, and checks of it."""

from __future__ import annotations

from spnas.errors import ConfigError

RUNTIME_HELP = (
    "what to measure in (`spnas doctor` lists them); default: onnxruntime on a CPU, cuda-graph-fp16 on CUDA, "
    "torch on MPS"
)
DEVICE_HELP = "auto (the best there is; default), cpu, cuda or mps"


def check_numbers(**options: int) -> None:
    """Check that options are above zero.

    Raises:
        ConfigError: One line for each that is not.
    """
    problems = [
        f"--{name}: expected a number above 0, got {value}"
        for name, value in options.items()
        if value < 1
    ]
    if problems:
        raise ConfigError(problems)
