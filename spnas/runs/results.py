"""A run's trials as one table, for analysis in pandas."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pandas as pd

from spnas.architecture import REGULAR
from spnas.runs.directory import RunDirectory
from spnas.runs.records import Origin, State
from spnas.runs.table import read_trials, table_columns


def load_results(run: Path | str) -> pd.DataFrame:
    """Load the trials of a run as a table with a type for each column.

    Args:
        run: A run directory, such as `results/my-run`.

    Returns:
        A row a trial, in order of completion; the columns of trials.csv (docs/results.md) and, after `origin`, three
        booleans: `is_base`, the base network; `on_front`, in pareto.csv; `confirmed`, evaluated again. Sites are
        categoricals that share their categories, `regular` first; `state` and `origin` categoricals; `trial`, `params`
        and `macs` Int64; `started` and `finished` UTC times; other figures floats. What is not known is NaN or NA.

    Raises:
        RunError: It is no run directory, or no trial has ended yet.
    """
    directory = RunDirectory.open(run)
    table = read_trials(directory.trials)
    sites = list(table_columns(table).sites)
    regular = str(REGULAR)
    choices = sorted({*table[sites].to_numpy().flat, regular}, key=lambda c: (c != regular, c))
    types = {
        "state": pd.CategoricalDtype(list(get_args(State))),
        "origin": pd.CategoricalDtype(list(get_args(Origin))),
        **dict.fromkeys(sites, pd.CategoricalDtype(choices)),
    }
    flags = {
        "is_base": (table[sites] == regular).all(axis="columns"),
        "on_front": table["trial"].isin(_numbers(directory.pareto_csv)).astype(bool),
        "confirmed": table["trial"].isin(_numbers(directory.confirmed)).astype(bool),
    }
    place = list(table.columns).index("origin") + 1
    table = table.astype(types).assign(**flags)
    return table[[*table.columns[:place], *flags, *table.columns[place : -len(flags)]]]


def _numbers(path: Path) -> list[int]:
    """Give the trials that a table of the run names; none where it is not written yet."""
    return read_trials(path)["trial"].tolist() if path.is_file() else []
