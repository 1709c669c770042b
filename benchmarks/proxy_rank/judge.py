"""The worker processes' part: one judgement after another, with what they work with made once."""

from __future__ import annotations

import os
import warnings
from typing import NamedTuple

import torch
from proxies import PROXIES, Setting, draw_architectures

from spnas.spaces import load_space
from spnas.tasks import open_task


class Job(NamedTuple):
    """A judgement: of which architecture, by what, how many epochs long (0: as long as it likes), with what seed."""

    architecture: int
    proxy: str
    length: int
    seed: int


class Options(NamedTuple):
    """What all judgements have in common."""

    space: str
    data: str
    imgsz: int
    weights: str
    truth_epochs: int
    nice: int


_opened: list[Setting] = []  # one in each process


def open_setting(options: Options) -> None:
    """Make ready what all of a process's jobs work with."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.nice(options.nice)
    space = load_space(options.space)
    cpu = torch.device("cpu")
    task = open_task(space.network.kind, options.data, imgsz=options.imgsz, device=cpu)
    _opened.append(Setting(space, task, options.weights, options.truth_epochs))


def judge(job: Job) -> list[dict[str, object]]:
    """Let a proxy judge an architecture; a row for each epoch it says something after."""
    setting = _opened[0]
    architecture = draw_architectures(setting.space, job.architecture + 1)[job.architecture]
    found = PROXIES[job.proxy](setting, architecture, job.length, job.seed)
    return [{**job._asdict(), "arch_id": architecture.id, **vars(said)} for said in found]
