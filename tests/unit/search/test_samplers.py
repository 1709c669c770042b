"""Every sampler that a search may be told to use, behind the study."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from spnas.errors import ConfigError
from spnas.runs import TrialRecord
from spnas.search.config import SamplerName, make_config
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_search_with_it_proposes_new_architectures(
    tmp_path: Path, space: SearchSpace, name: SamplerName
) -> None:
    study = SearchStudy(tmp_path / "study.db", space, "top1", seed=0, sampler=name)
    for _ in range(14):  # enough for the model of the latencies, and that of the accuracy
        proposal = study.propose()
        assert proposal is not None
        ghosts = sum(choice.op == "ghost" for choice in proposal.architecture.values())
        record = TrialRecord(
            trial=proposal.trial,
            state="complete",
            architecture=proposal.architecture,
            origin=proposal.origin,
            scores={"top1": 0.9 - 0.1 * ghosts},
            latency_ms=2.0 - 0.3 * ghosts,
            latency_ratio=1.0 - 0.15 * ghosts,
        )
        study.record(proposal, record)
    study.close()
    assert len({record.architecture for record in study.records}) == 14


def test_an_unknown_one_is_told_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"--sampler: .*'latency-aware', 'tpe', 'nsga2' or 'random'"
    ):
        make_config({"space": "yolov8n", "budget": "1m", "sampler": "best"})
