"""Times a few training steps, a validation batch and a latency measurement of the base network."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from spnas.networks import deploy_model, load_base_weights
from spnas.search.forecast import Costs
from spnas.search.objective import own_bench
from spnas.search.plan import Plan
from spnas.tasks import Task, open_task
from spnas.training import step_seconds


def measure_costs(plan: Plan) -> Costs:
    """Time the parts of a search on its device, in this process, within seconds; nothing is written.

    Latency is measured on this machine also where a search measures it on another node.
    """
    settings = plan.settings(Path("unused"))
    task = open_task(settings.kind, settings.data, imgsz=settings.imgsz, device=plan.device)
    model = plan.network.build(plan.info.num_classes)
    if plan.config.weights is not None:
        load_base_weights(model, plan.config.weights)
    task.attach(model)
    example = task.example(plan.latency_batch)
    threads = torch.get_num_threads()
    try:
        bench, base = own_bench(settings), deploy_model(model)
        bench.measure(model, base, example)  # a process's first one takes longer than the others
        started = time.perf_counter()
        bench.measure(model, base, example)
        latency_s = time.perf_counter() - started
        model.to(plan.device)
        torch.set_num_threads(plan.cpus)
        base_step_s = 0.0
        if plan.base_schedule is not None:
            base_step_s = step_seconds(model, task, plan.base_schedule.batch_size)
        torch.set_num_threads(plan.config.cpus_per_trial)
        step_s = step_seconds(model, task, plan.schedule.batch_size)
        image_s = _image_s(model, task, plan.device)
    finally:
        torch.set_num_threads(threads)
    return Costs(base_step_s, step_s, image_s, latency_s)


def _image_s(model: nn.Module, task: Task, device: torch.device) -> float:
    """Time a validation image in a batch of 16."""
    images = task.example(16).to(device)
    model.eval()
    with torch.inference_mode():
        model(images)
        started = time.perf_counter()
        model(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / len(images)
