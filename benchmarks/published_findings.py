"""What the files of a published run say, as a table and a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from spnas.runs.pareto import hypervolume
from spnas.runs.summary import METRIC_TITLES
from spnas.runs.table import read_trials, table_columns

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
_WORST = 0.5  # of the base's accuracy, the lower end of what hypervolumes count


@dataclass(frozen=True)
class Run:
    """A published search; `options` are those of `--config`."""

    space: str
    data: str
    imgsz: int
    budget: str
    told: str
    options: dict[str, str | float] = field(default_factory=dict)


# Enough for a second seed of most of a front.
_CONFIRMED: dict[str, str | float] = {"confirm_share": 0.35}
# Four trials on one GPU, which one leaves idle for the most part; latency where a large GPU is not deployed.
_ON_A_GPU: dict[str, str | float] = {"gpus_per_trial": 0.25, "latency_on": "cpu"}
RUNS = {
    "yolov8n-bccd": Run(
        "yolov8n", "bccd/data.yaml", 160, "24cpu-min", "YOLOv8n on blood cells", _CONFIRMED
    ),
    "resnet20-sign-digits": Run(
        "resnet20-cifar", "sign_digits", 32, "14cpu-min", "ResNet-20 on sign digits", _CONFIRMED
    ),
    "yolov8s-bccd": Run(
        "yolov8s", "bccd/data.yaml", 320, "10gpu-min", "YOLOv8s on blood cells", _ON_A_GPU
    ),
    "resnet50-sign-digits": Run(
        "resnet50", "sign_digits", 64, "5gpu-min", "ResNet-50 on sign digits", _ON_A_GPU
    ),
}


@dataclass(frozen=True)
class Findings:
    """What the files of a published run say; latency as ratios to the base network's."""

    run: Run
    metric: str
    base: pd.Series
    front: pd.DataFrame
    random: pd.DataFrame
    uniform: pd.DataFrame
    trained: pd.DataFrame | None

    @classmethod
    def read(cls, name: str) -> Findings:
        """Read results/published/NAME."""
        folder = PUBLISHED / name
        front = read_trials(folder / "pareto.csv")
        metric = table_columns(front).metric
        again = read_trials(folder / "confirmed.csv")
        base = again[again.origin == "base"].mean(numeric_only=True)
        random = read_trials(folder / "random" / "pareto.csv")
        uniform = pd.read_csv(folder / "baselines.csv")
        file = folder / "trained.csv"
        trained = pd.read_csv(file) if file.exists() else None
        return cls(RUNS[name], metric, base, front, random, uniform, trained)

    def volume(self, models: pd.DataFrame) -> float:
        """Give the share of the box from the base down to half its accuracy that the models dominate."""
        accuracy, worst = self.base[self.metric], _WORST * self.base[self.metric]
        area = hypervolume(list(models[self.metric]), list(models.latency_ratio), (worst, 1.0))
        return area / (accuracy - worst)

    def table(self) -> str:
        """Give the front beside the uniform networks, sorted by latency, as markdown."""
        rows = [("base network", 1.0, self.base)]
        rows += [
            (f"front: {Path(row.file).stem}", row.latency_ratio, row)
            for _, row in self.front[self.front.origin != "base"].iterrows()
        ]
        rows += [
            (f"all {row.uniform}", row.latency_ratio, row) for _, row in self.uniform.iterrows()
        ]
        lines = [f"| | latency | {METRIC_TITLES[self.metric]} | parameters |", "|---|---|---|---|"]
        for label, ratio, row in sorted(rows, key=lambda entry: entry[1]):
            spread = row.get(f"{self.metric}_std")
            accuracy = f"{100 * row[self.metric]:.1f} ± {100 * spread:.1f}"
            mark = "" if label.startswith("all") else "**"
            cells = (f"{ratio:.2f}", accuracy, f"{row.params / 1e6:.2f} M")
            lines.append(
                "| " + " | ".join(f"{mark}{cell}{mark}" for cell in (label, *cells)) + " |"
            )
        return "\n".join(lines)

    def fully_trained(self) -> str:
        """Tell what full trainings gave, in a sentence; nothing where there were none."""
        if self.trained is None:
            return ""
        ratios = {Path(row.file).stem: row.latency_ratio for _, row in self.front.iterrows()}
        told = [
            f"{row.model} {100 * row[self.metric]:.1f}"
            + (f" at {ratios[row.model]:.2f} of its latency" if row.model in ratios else "")
            for _, row in self.trained.iterrows()
        ]
        return (
            f" Trained fully by `spnas train`, {self.trained.epochs[0]} epochs each from a trained base's weights, one "
            f"seed: {', '.join(told)}."
        )

    def draw(self, path: Path) -> None:
        """Draw the front beside random search, the uniform networks and the base."""
        figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for models, label, colour in (
            (self.random, "random search, the same budget", "#9aa0a6"),
            (self.front, "spnas", "#1a5fb4"),
        ):
            front = models[models.latency_ratio <= 1].sort_values("latency_ratio")
            x, y = front.latency_ratio, 100 * front[self.metric]
            spread = 100 * front[f"{self.metric}_std"]
            axes.step(x, y, where="post", color=colour)
            axes.errorbar(x, y, yerr=spread, fmt="o", color=colour, capsize=3, label=label)
        for family, part in self.uniform.groupby(self.uniform.uniform.str.partition(":")[0]):
            marker = "^" if family == "ghost" else "s"
            x, y = part.latency_ratio, 100 * part[self.metric]
            axes.plot(x, y, marker, color="#e66100", mfc="none", label=f"all {family}, each ratio")
        axes.plot(
            1, 100 * self.base[self.metric], "*", ms=15, color="#c01c28", label="base network"
        )
        axes.set_xlabel("latency of the deployed form, base network = 1")
        axes.set_ylabel(f"{METRIC_TITLES[self.metric]} (%)")
        axes.set_title(self.run.told, loc="left", fontsize=11)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path)
