"""Data, loss and metric of what networks are searched for."""

from spnas.tasks.base import DataInfo, Score, Task
from spnas.tasks.registry import TaskFactory, check_data, open_task, register_task

__all__ = ["DataInfo", "Score", "Task", "TaskFactory", "check_data", "open_task", "register_task"]
