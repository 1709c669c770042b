"""What a reader of a run should know before its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from spnas.runs.content import RunContent
from spnas.runs.records import TrialRecord
from spnas.runs.summary import find_base

_MOST = 3


def warnings_of(content: RunContent, confirmed: Sequence[TrialRecord]) -> list[str]:
    """List what is doubtful about a run, a sentence each."""
    if not content.trials:
        return ["No trial has ended yet."]
    complete = content.in_state("complete")
    if not complete:
        return ["No trial is complete, so there is no Pareto front.", *_failures(content)]
    found = []
    if not confirmed:
        found.append(
            "The front is not confirmed: it is that of single short trainings, and some of its models are lucky ones."
        )
    base = find_base(content.trials)
    if base is None or content.metric not in base.scores:
        found.append("The base network's own trial has no accuracy to compare with.")
    elif base.state == "infeasible":
        found.append(f"The base network exceeds the limits: {base.error}.")
    disturbed = [record for record in [*content.trials, *content.again] if record.latency_warning]
    if disturbed:
        found.append(
            f"Latency measurements that something disturbed: {len(disturbed)}, the last one: "
            f"{disturbed[-1].latency_warning}."
        )
    infeasible = content.in_state("infeasible")
    if 2 * len(infeasible) > len(content.trials):
        found.append(f"{len(infeasible)} of {len(content.trials)} trials exceeded the limits.")
    return [*found, *_failures(content)]


def _failures(content: RunContent) -> list[str]:
    """Tell of the most frequent reasons why trials failed."""
    failed = content.in_state("failed")
    reasons = Counter(record.error or "no reason is known" for record in failed).most_common()
    told = [f"Failed: {number} {_trials(number)}: {reason}" for reason, number in reasons[:_MOST]]
    more = sum(number for _, number in reasons[_MOST:])
    return (
        [*told, f"Failed for other reasons: {more} {_trials(more)}; see trials.csv"]
        if more
        else told
    )


def _trials(number: int) -> str:
    return "trial" if number == 1 else "trials"
