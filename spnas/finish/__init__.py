"""After the search: train a found model fully, score it, export it; compare runs."""

from spnas.finish.comparison import ComparedRun, Comparison, compare_runs
from spnas.finish.comparison_plot import plot_comparison
from spnas.finish.export import Exported, export_model
from spnas.finish.train import Trained, resume_training, train_model
from spnas.finish.validate import validate_model

__all__ = [
    "ComparedRun",
    "Comparison",
    "Exported",
    "Trained",
    "compare_runs",
    "export_model",
    "plot_comparison",
    "resume_training",
    "train_model",
    "validate_model",
]
