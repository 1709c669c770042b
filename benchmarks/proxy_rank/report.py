"""A table and a plot of how well each proxy ranks, and at what cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from proxies import TRUTH
from scipy import stats

from spnas.search.environment import machine_line

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_BEST = 3
_DRAWS = 2000


def write_report(args: argparse.Namespace) -> None:
    """Print the table and write the plot beside the csv."""
    table = pd.read_csv(args.csv)
    table = table[table.architecture > 0]  # the base, which everybody knows to be the best
    true = true_scores(table)
    macs = table[table.proxy == "macs"].set_index("architecture").score
    rows = pd.DataFrame(_judge(name, part, true, macs) for name, part in judgements(table))
    rows = rows.sort_values("kendall", ascending=False)
    ceiling, longest = noise_ceiling(table), true.cpu_s.median()
    _print(table, true, rows, ceiling, longest)
    file = args.csv.with_suffix(".json")
    if file.exists():
        costs = ", ".join(f"`{k}` {v:.0f}" for k, v in json.loads(file.read_text()).items())
        print(f"\nCPU seconds that the libraries took, once for all trials of a search: {costs}.")
    print(f"\n{machine_line(torch.device('cpu'))}")
    _plot(rows, ceiling, longest, args.csv.with_suffix(".png"))


def true_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Give the long training's end by architecture, the mean over its seeds; of those that all seeds are there of."""
    ends = _ends(table)
    seeds = ends.seed.nunique()
    grouped = ends.groupby("architecture")
    found = grouped[["score", "cpu_s"]].mean()
    return found[grouped.size() == seeds]


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    runs = table[(table.proxy == TRUTH) & (table.length == 0)]
    return runs[runs.epochs == runs.epochs.max()]


def noise_ceiling(table: pd.DataFrame) -> float:
    """Give Kendall's tau between the long trainings of two seeds: what no proxy surely exceeds."""
    by_seed = _ends(table).pivot(index="architecture", columns="seed", values="score").dropna()
    first, second = by_seed.columns[:2]
    return float(stats.kendalltau(by_seed[first], by_seed[second]).statistic)


def judgements(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """List the proxies, one for each rung of each length, and the long training's own rungs."""
    found = []
    for (proxy, length, epochs), part in table.groupby(["proxy", "length", "epochs"], sort=False):
        if proxy == TRUTH:
            if length == 0 and epochs < table[table.proxy == TRUTH].epochs.max():
                found.append((f"the long training after {epochs} epochs", part[part.seed == 1]))
        elif length:
            rung = "" if epochs == length else f", after {epochs}"
            found.append((f"{proxy}, {length} epoch{'s' * (length > 1)}{rung}", part))
        else:
            found.append((proxy + (", no training" if part.cpu_s.max() > 0 else ""), part))
    return found


def _judge(name: str, part: pd.DataFrame, true: pd.DataFrame, macs: pd.Series) -> dict[str, object]:
    """Compare a proxy with the truth on the architectures that both know."""
    both = part.set_index("architecture").join(true, rsuffix="_true", how="inner")
    score, truth = both.score.to_numpy(), both.score_true.to_numpy()
    best = np.argsort(-score, kind="stable")[:_BEST]
    low, high = _interval(score, truth)
    return {
        "proxy": name,
        "architectures": len(both),
        "kendall": stats.kendalltau(score, truth).statistic,
        "low": low,
        "high": high,
        "partial": _partial(score, truth, macs.reindex(both.index).to_numpy()),
        "spearman": stats.spearmanr(score, truth).statistic,
        "regret": truth.max() - truth[best].max(),
        "cpu_s": both.cpu_s.median(),
    }


def _partial(score: np.ndarray, truth: np.ndarray, given: np.ndarray) -> float:
    """Give Kendall's partial tau: what the proxy knows beside what is given. NaN where it knows nothing else."""
    x, y, both = (
        stats.kendalltau(*pair).statistic
        for pair in ((score, given), (truth, given), (score, truth))
    )
    rest = (1 - x**2) * (1 - y**2)
    return float((both - x * y) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def _interval(score: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Give the 90% interval of Kendall's tau over resampled architectures."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(score), size=len(score)) for _ in range(_DRAWS)]
    values = [stats.kendalltau(score[draw], truth[draw]).statistic for draw in draws]
    low, high = np.nanquantile(values, (0.05, 0.95))
    return float(low), float(high)


def _print(
    table: pd.DataFrame, true: pd.DataFrame, rows: pd.DataFrame, ceiling: float, longest: float
) -> None:
    epochs = _ends(table).epochs.iloc[0]
    print(
        f"{len(true)} architectures, each trained {epochs} epochs from inherited weights with two seeds "
        f"({longest:.0f} CPU seconds each, scores {true.score.min():.3f} to {true.score.max():.3f}). The two seeds "
        f"rank them with a Kendall's tau of {ceiling:.2f}: the noise ceiling of one long training.\n"
    )
    print(
        "| proxy | Kendall's tau | 90% interval | given the MACs | Spearman | regret of the best 3 | CPU s | share |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows.itertuples():
        print(
            f"| {row.proxy} | {row.kendall:.2f} | {row.low:.2f} to {row.high:.2f} | {row.partial:.2f} | "
            f"{row.spearman:.2f} | {row.regret:.4f} | {row.cpu_s:.1f} | {row.cpu_s / longest:.3f} |"
        )
    longer = table[(table.proxy == TRUTH) & (table.length > 0)]
    if len(longer):
        ends = longer[longer.epochs == longer.length].set_index("architecture")
        gain = (ends.score - true.score).dropna()
        print(
            f"\nTrained {int(ends.length.iloc[0])} epochs, {len(gain)} of them gained {gain.mean():+.4f} on average "
            f"({gain.min():+.4f} to {gain.max():+.4f})."
        )


def _plot(rows: pd.DataFrame, ceiling: float, longest: float, path: Path) -> None:
    """Plot the rank correlations, a row a proxy, and beside them what each costs."""
    rows = rows[::-1]
    places = np.arange(len(rows))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.27 * len(rows) + 1.4), sharey=True, width_ratios=(3, 1)
    )
    error = np.abs(rows[["low", "high"]].to_numpy().T - rows.kendall.to_numpy())
    left.errorbar(
        rows.kendall, places, xerr=error, fmt="o", ms=4, lw=0.8, label="Kendall's tau, 90%"
    )
    left.plot(
        rows.partial, places, "D", ms=4, mfc="none", color="C1", label="the same, given the MACs"
    )
    left.axvline(ceiling, color="C3", lw=1, label="another long training")
    left.set(
        yticks=places, yticklabels=rows.proxy, xlabel="rank correlation with the long training"
    )
    right.barh(places, rows.cpu_s / longest, height=0.5, color="C0")
    right.axvline(0.1, color="0.4", lw=1, ls="--")
    right.set(xscale="log", xlim=(1e-3, 1), xlabel="share of its cost")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8)
    figure.legend(fontsize=8, loc="upper center", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=110)
