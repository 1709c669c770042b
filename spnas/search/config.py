"""The options of a search: command line over `--config` file over defaults, checked all at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from spnas.errors import ConfigError
from spnas.names import near_miss
from spnas.runs.yaml_file import YamlError, read_yaml
from spnas.search.limits import Limit

Positive = Annotated[int, Field(gt=0)]
InheritName = Literal["weights", "fitted", "library"]
SamplerName = Literal["latency-aware", "tpe", "nsga2", "random"]
SchedulerName = Literal["promise", "epsilon-net", "none"]
_CHOICES = {"inherit": InheritName, "sampler": SamplerName, "scheduler": SchedulerName}
MaxLatency = Annotated[Limit, PlainValidator(Limit.latency), PlainSerializer(str)]
MaxCount = Annotated[Limit, PlainValidator(Limit.count), PlainSerializer(str)]


def _whole_above_one(value: float) -> float:
    """Refuse one and a half GPUs, which Ray cannot reserve."""
    if value > 1 and not value.is_integer():
        raise ValueError("expected a share of one GPU or a whole number of them")
    return value


NODE = "node:"


def _latency_target(value: str) -> str:
    """Refuse what is neither a kind of device nor names a resource."""
    if value in ("cpu", "cuda") or (value.startswith(NODE) and value != NODE):
        return value
    raise ValueError("expected cpu, cuda or node:RESOURCE")


class SearchConfig(BaseModel):
    """Everything that decides a search; written to the run's config.yaml.

    Attributes:
        space: Name of a shipped search space, or a path to a yaml.
        data: Ultralytics data.yaml, or an ImageFolder; None for the embedded default set.
        budget: `8gpu-h`, `30cpu-min`, `45m` or `200trials`.
        device: Where trials train and latency is measured: `auto`, `cpu`, `cuda`, `mps`.
        imgsz: Image size, pixels; None for the data set's or the network's own.
        seed: Of everything random.
        name: The run's name; None for the space's name and the time.
        results: Folder for runs.
        weights: Weights of the trained base; None trains it first, within the budget. From weights of another number of
            classes it is trained first as well.
        cpus: Cores to reserve; None for all that this process may use.
        gpus: GPUs to reserve, on a CUDA device; None for all.
        gpus_per_trial: GPUs a trial takes on a CUDA device; less than 1 shares one.
        cpus_per_trial: Cores a trial takes, and torch threads of its training.
        batch: Images a training step.
        epochs: Epochs of the proxy training; rungs lie below it.
        rungs: Epochs at which trials are compared and the worse ones stopped; empty stops none.
        lr: Peak learning rate of the proxy training.
        base_epochs: Epochs of the base network's training; None for the task's default, and for none where `weights`
            has every layer.
        runtime: What latency is measured in, a name of docs/latency.md; None for the device's default.
        max_latency: Latency above which a candidate is infeasible and not trained: `8ms`, or `0.7x` the base's.
        max_params: Parameters, likewise: `2500000`, `2.5M` or `0.8x`; None for any number.
        max_macs: Multiply-accumulates, likewise.
        latency_on: Where latency is measured: `cpu`, `cuda`, or `node:RESOURCE` for the node of the cluster that offers
            that Ray resource; None for the device that trains.
        latency_batch: Images in a forward that latency is measured with; None for the network's own, mostly 1.
        sampler: What proposes architectures.
        scheduler: What stops trials at rungs.
        table_share: Share of what is left of the budget that the latency table may take; 0 for no table and no scores.
        inherit: What a trial's operators start from: `weights` of the base in closed form, `fitted` to the base's
            convolutions by least squares, or a `library` of operators trained to do what those do.
        library_share: Share of what is left of the budget that fitting or the library may take.
        confirm_share: Share of what base network and latency table left of the budget that is kept to evaluate the
            front again; beside a budget in trials as many re-evaluations, at most, as this share of it. 0 for none.
        confirm_epochs: Epochs of a re-evaluation; None for twice those of the proxy training.
        address: `auto` or `HOST:PORT` of a running Ray cluster to join; None starts a private Ray.
        trial_timeout_s: Seconds after which a trial is given up as hanging; None for ten times what trials take, see
            `Ledger.timeout_s`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    budget: str
    data: str | None = None
    device: str = "auto"
    imgsz: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    name: str | None = None
    results: str = "results"
    weights: str | None = None
    cpus: Positive | None = None
    gpus: Positive | None = None
    gpus_per_trial: Annotated[float, Field(gt=0), AfterValidator(_whole_above_one)] = 1.0
    cpus_per_trial: Positive = 1
    batch: Positive | None = None
    epochs: Positive | None = None
    rungs: tuple[Positive, ...] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    base_epochs: Positive | None = None
    runtime: str | None = None
    max_latency: MaxLatency = Limit.latency("1x")
    max_params: MaxCount | None = None
    max_macs: MaxCount | None = None
    latency_on: Annotated[str, AfterValidator(_latency_target)] | None = None
    latency_batch: Positive | None = None
    sampler: SamplerName = "latency-aware"
    scheduler: SchedulerName = "promise"
    table_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    inherit: InheritName = "fitted"
    library_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    confirm_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    confirm_epochs: Positive | None = None
    address: str | None = None
    trial_timeout_s: Annotated[float, Field(gt=0, le=1e7)] | None = None

    def run_name(self) -> str:
        """Give the run's name, made from the space and the time where none was given."""
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        return self.name or f"{Path(self.space).stem}-{stamp}"


def make_config(options: Mapping[str, Any], file: Path | None = None) -> SearchConfig:
    """Put options together: those given on the command line win over the file's.

    Args:
        options: Option names to values; None counts as not given.
        file: A yaml with option names to values, such as a run's config.yaml.

    Raises:
        ConfigError: One line for every option that is unknown, missing or of the wrong kind.
    """
    given = {name: value for name, value in options.items() if value is not None}
    values = {**(_read(file) if file else {}), **given}
    values.pop("resolved", None)  # a run's own config.yaml repeats the run
    try:
        return SearchConfig(**values)
    except ValidationError as error:
        raise ConfigError([_problem(e, given, file) for e in error.errors()]) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_yaml(file).value
    except YamlError as error:
        raise ConfigError(error.problems) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{file}: expected option names with values, got {content!r}")
    return content


def _problem(error: Any, given: Mapping[str, Any], file: Path | None) -> str:
    key = ".".join(str(part) for part in error["loc"])
    where = f"--{key.replace('_', '-')}" if key in given or file is None else f"{file}: {key}"
    if error["type"] == "extra_forbidden":
        near = near_miss(key, SearchConfig.model_fields)
        return f"{where}: unknown option, allowed: {', '.join(SearchConfig.model_fields)}{near}"
    if error["type"] == "missing":
        return f"{where}: is required"
    if error["type"] == "value_error":  # one of our own
        return f"{where}: {error['ctx']['error']}, got {error['input']!r}"
    near = ""
    if error["type"] == "literal_error":
        near = near_miss(str(error["input"]), get_args(_CHOICES[key]))
    return f"{where}: {_expected(error['msg'])}, got {error['input']!r}{near}"


def _expected(message: str) -> str:
    """Put pydantic's words as everywhere in spnas: what was expected."""
    wanted = message.lower().removeprefix("input should be ")
    wanted = wanted.partition(", unable")[0].partition(", got")[0]
    return f"expected {'a number ' if wanted.startswith(('greater', 'less')) else ''}{wanted}"


def write_config(config: SearchConfig, extra: Mapping[str, Any]) -> str:
    """Give the text of config.yaml: the options, and under `resolved` what the defaults came to."""
    content = {**config.model_dump(mode="json"), "resolved": dict(extra)}
    return yaml.safe_dump(content, sort_keys=False)


def read_config(file: Path) -> tuple[SearchConfig, dict[str, Any]]:
    """Read a run's config.yaml back: the options and what they resolved to.

    Raises:
        ConfigError: The file is damaged.
    """
    content = _read(file)
    resolved = content.pop("resolved", None)
    try:
        return SearchConfig(**content), dict(resolved or {})
    except ValidationError as error:
        raise ConfigError([_problem(e, {}, file) for e in error.errors()]) from None
