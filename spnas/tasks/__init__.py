"""Data, loss and metric of what networks are searched for."""

from spnas.tasks.base import DataInfo, Score, Task
from spnas.tasks.registry import TaskFactory, check_data, open_task, register_task, survey_data
from spnas.tasks.survey import Split, Survey

__all__ = [
    "DataInfo",
    "Score",
    "Split",
    "Survey",
    "Task",
    "TaskFactory",
    "check_data",
    "open_task",
    "register_task",
    "survey_data",
]
