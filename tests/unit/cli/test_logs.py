"""`spnas logs`: the trial's row, its worker's words, and those of its re-evaluations."""

import logging
from pathlib import Path

import pytest

from spnas.architecture import Architecture
from spnas.cli import main
from spnas.runs import RunDirectory, TrialRecord, write_trials
from spnas.search.trial_log import trial_log


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path, "run")
    made.config.write_text("space: x\n")
    architecture = Architecture(
        {"conv1": "ghost:0.5", "conv2": "ghost:0.5", "conv3": "spconv:0.25"}
    )
    failed = TrialRecord(
        3, "failed", architecture, error="TrainingError: the loss is nan", device_s=2.5
    )
    write_trials(made.trials, [failed], ("top1",), ("conv1", "conv2", "conv3"))
    return made


def test_it_prints_the_trial_its_log_and_its_re_evaluations(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("spnas")
    with trial_log(run.trial_log(3)):
        logger.info("epoch 1 of 2: loss 0.5")
        try:
            raise ArithmeticError("the loss is nan")
        except ArithmeticError:
            logger.exception("trial 3 failed")
    with trial_log(run.trial_log(3, seed=2)):
        logger.info("said of a re-evaluation")
    logger.info("said after the trial")
    assert main(["logs", str(run.path), "3"]) == 0
    out = capsys.readouterr().out
    assert "ghost:0.5 at conv1, conv2\nspconv:0.25 at conv3" in out
    assert "cost 2.5 device-seconds" in out
    parts = [
        "TrainingError",
        "logs/0003.txt",
        "loss 0.5",
        "Traceback",
        "logs/0003-2.txt",
        "said of a",
    ]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    assert "said after" not in out


def test_a_trial_under_way_and_one_without_a_log(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", str(run.path), "3"]) == 0
    assert "no log" in capsys.readouterr().out
    with trial_log(run.trial_log(4)):
        logging.getLogger("spnas").info("so far")
    run.trials.unlink()
    assert main(["logs", str(run.path), "4"]) == 0
    assert "trial 4: under way" in capsys.readouterr().out


def test_a_trial_that_is_not_there_gets_exit_code_2(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", str(run.path), "7"]) == 2
    assert "there is no trial 7, the last one is 3" in capsys.readouterr().err
