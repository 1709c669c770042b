"""What a run's trials say about its search space: sites and operators that matter, how far ranks can be trusted."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from spnas.runs.content import RunContent, cost_breakdown
from spnas.runs.front import front_records
from spnas.runs.records import TrialRecord
from spnas.runs.report.palette import choices_of

Floats = npt.NDArray[np.float64]

FEWEST_TRIALS = 20
"""Below that many trials nothing is said about what matters."""

_FOLDS, _REPEATS = 5, 5


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found; docs/results.md tells of the columns.

    Attributes:
        sites: A row a site.
        operators: A row a choice.
        ranks: A row for each pair of rankings of the same trials.
        costs: A row a phase.
        explained: By figure, the share of its variance among trials held out that an additive model of the choices
            explains (R2); without what there are too few trials for.
        front: How many models are on the front.
    """

    sites: pd.DataFrame
    operators: pd.DataFrame
    ranks: pd.DataFrame
    costs: pd.DataFrame
    explained: Mapping[str, float]
    front: int

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by the name of their file."""
        names = ("sites", "operators", "ranks", "costs")
        return {f"{name}.csv": getattr(self, name) for name in names}


def analyze(content: RunContent, confirmed: Sequence[TrialRecord] = ()) -> Analysis:
    """Analyze a run.

    Args:
        content: The run.
        confirmed: Trials with what their re-evaluations say; the front is then theirs.
    """
    front = front_records(list(confirmed or content.trials), content.metric)
    trained = [r for r in content.in_state("complete") if content.metric in r.scores]
    measured = [r for r in content.trials if r.latency_ratio is not None]
    targets = {
        "accuracy": (trained, [r.scores[content.metric] for r in trained]),
        "latency": (measured, [r.latency_ratio or 0.0 for r in measured]),
    }
    sites = pd.DataFrame({"site": list(content.sites)})
    choices = choices_of([*trained, *measured], content.sites)
    operators = _use(choices, trained, front, content.sites)
    explained: dict[str, float] = {}
    for name, (records, values) in targets.items():
        if len(records) < FEWEST_TRIALS or np.ptp(values) == 0:
            sites[f"{name}_importance"] = np.nan
            operators[[f"{name}_effect", f"{name}_effect_std"]] = np.nan
            continue
        known = np.array(values)
        sites[f"{name}_importance"], explained[name] = site_importance(
            records, known, content.sites
        )
        effects, stds = choice_effects(records, known, choices)
        operators[f"{name}_effect"], operators[f"{name}_effect_std"] = effects, stds
    costs = cost_breakdown(content)
    return Analysis(
        sites=sites.join(_front_choices(front, content.sites, choices)),
        operators=operators,
        ranks=rank_stability(content),
        costs=pd.DataFrame({"phase": list(costs), "device_s": list(costs.values())}),
        explained=explained,
        front=len(front),
    )


def site_importance(
    records: Sequence[TrialRecord], values: Floats, sites: Sequence[str]
) -> tuple[Floats, float]:
    """Tell how much a figure depends on each site, by permutation importance under an additive model.

    A ridge regression on the choices, one-hot, is fitted to four fifths of the trials; a site's importance is by how
    much its error on the last fifth grows, in shares of the figure's variance, where that site's choices are shuffled.

    Source: Breiman, "Random forests", Machine Learning 45, 2001; as scikit-learn does it.

    Args:
        records: The trials.
        values: Their figure.
        sites: The sites.

    Returns:
        The importance of each site, around 0 for what does not matter, and the share of variance explained (R2).
    """
    from sklearn.inspection import permutation_importance
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    texts = [[str(record.architecture[site]) for site in sites] for record in records]
    numbers = {
        text: number for number, text in enumerate(sorted({t for row in texts for t in row}))
    }
    inputs = np.array([[numbers[text] for text in row] for row in texts])
    one_hot = np.eye(
        len(numbers)
    )  # scikit-learn's encoder goes column by column, several times slower
    foretold = np.empty(len(values))
    importances = []
    for train, held_out in KFold(_FOLDS, shuffle=True, random_state=0).split(inputs):
        model = make_pipeline(
            FunctionTransformer(lambda numbers: one_hot[numbers].reshape(len(numbers), -1)),
            RidgeCV(np.logspace(-2, 4, 13)),
        )
        model.fit(inputs[train], values[train])
        foretold[held_out] = model.predict(inputs[held_out])
        found = permutation_importance(
            *(model, inputs[held_out], values[held_out]),
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=0,
        )
        importances.append(found.importances_mean)
    return np.mean(importances, axis=0) / np.var(values), float(r2_score(values, foretold))


def choice_effects(
    records: Sequence[TrialRecord], values: Floats, choices: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Tell what one more site with a choice, in place of the regular one, does to a figure, all sites taken alike.

    Args:
        records: The trials.
        values: Their figure.
        choices: `regular` first.

    Returns:
        The effect of each choice and its standard deviation, by a Bayesian linear regression on the numbers of sites.
    """
    from sklearn.linear_model import BayesianRidge

    counts = [Counter(str(choice) for choice in r.architecture.values()) for r in records]
    inputs = np.array([[count[choice] for choice in choices[1:]] for count in counts], dtype=float)
    if not inputs.size:
        return [0.0] * len(choices), [0.0] * len(choices)
    # The regression's prior is one for figures around 1.
    model = BayesianRidge().fit(inputs, (values - values.mean()) / values.std())
    effects = model.coef_ * values.std()
    stds = np.sqrt(np.diag(model.sigma_)) * values.std()
    return [0.0, *effects.tolist()], [0.0, *stds.tolist()]


def rank_stability(content: RunContent) -> pd.DataFrame:
    """Compare rankings of the same trials: at each rung and at the end, in the trial and evaluated again.

    Returns:
        Columns `earlier`, `later`, `trials` and `tau`, Kendall's tau-b; no pairs that fewer than three trials have.
    """
    from scipy.stats import kendalltau

    ended = {
        r.trial: r.scores[content.metric]
        for r in content.in_state("complete")
        if content.metric in r.scores
    }
    pairs: list[tuple[str, str, dict[int, float], dict[int, float]]] = []
    if not content.rungs.empty:
        for epochs, rung in content.rungs.groupby("epochs"):
            there = dict(zip(rung["trial"], rung[content.metric], strict=True))
            pairs.append((f"epoch {epochs}", "end of the trial", there, ended))
    again: dict[int, list[float]] = {}
    for record in content.again:
        if content.metric in record.scores:
            again.setdefault(record.trial, []).append(record.scores[content.metric])
    means = {trial: statistics.fmean(found) for trial, found in again.items()}
    pairs.append(("end of the trial", "evaluated again", ended, means))
    rows = []
    for earlier, later, one, other in pairs:
        both = sorted(one.keys() & other.keys())
        if len(both) >= 3:
            tau = kendalltau([one[t] for t in both], [other[t] for t in both]).statistic
            rows.append((earlier, later, len(both), float(tau)))
    return pd.DataFrame(rows, columns=["earlier", "later", "trials", "tau"])


def _use(
    choices: Sequence[str],
    trials: Sequence[TrialRecord],
    front: Sequence[TrialRecord],
    sites: Sequence[str],
) -> pd.DataFrame:
    """Tell of each choice at what share of all sites it is, in complete trials and on the front."""
    table = pd.DataFrame({"choice": list(choices)})
    for name, records in (("trials_share", trials), ("front_share", front)):
        counts = Counter(str(record.architecture[site]) for record in records for site in sites)
        total = sum(counts.values())
        table[name] = [counts[choice] / total if total else np.nan for choice in choices]
    return table


def _front_choices(
    front: Sequence[TrialRecord], sites: Sequence[str], choices: Sequence[str]
) -> pd.DataFrame:
    """Count at each site how many models of the front have each choice."""
    counts = [Counter(str(record.architecture[site]) for record in front) for site in sites]
    return pd.DataFrame({choice: [count[choice] for count in counts] for choice in choices})
