"""Run directories, their tables and their Pareto fronts; knows neither torch nor Ray."""

from spnas.runs.content import RunContent, read_run
from spnas.runs.directory import RunDirectory
from spnas.runs.files import atomic_file, write_text_atomic
from spnas.runs.front import front_hypervolume, front_records, write_front
from spnas.runs.model_yaml import read_model_yaml, write_model_yaml
from spnas.runs.pareto import hypervolume, pareto_indices
from spnas.runs.plot import plot_front
from spnas.runs.records import TrialRecord, csv_columns
from spnas.runs.report import write_report
from spnas.runs.results import load_results
from spnas.runs.summary import FrontRow, front_rows, front_table
from spnas.runs.table import (
    append_trial,
    read_records,
    read_trials,
    table_columns,
    trials_frame,
    write_confirmed,
    write_trials,
)

__all__ = [
    "FrontRow",
    "RunContent",
    "RunDirectory",
    "TrialRecord",
    "append_trial",
    "atomic_file",
    "csv_columns",
    "front_hypervolume",
    "front_records",
    "front_rows",
    "front_table",
    "hypervolume",
    "load_results",
    "pareto_indices",
    "plot_front",
    "read_model_yaml",
    "read_records",
    "read_run",
    "read_trials",
    "table_columns",
    "trials_frame",
    "write_confirmed",
    "write_front",
    "write_model_yaml",
    "write_report",
    "write_text_atomic",
    "write_trials",
]
