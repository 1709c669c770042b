from __future__ import annotations

from pathlib import Path

import pytest

from spnas.errors import ConfigError
from spnas.search.config import make_config, read_config, write_config
from spnas.search.limits import Limit


def test_command_line_wins_over_file_wins_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("space: resnet18\nbudget: 5m\nepochs: 3\nrungs: [1, 2]\n")
    config = make_config({"space": "yolov8n", "seed": None}, file)
    assert (config.space, config.budget, config.epochs, config.rungs, config.seed) == (
        "yolov8n",
        "5m",
        3,
        (1, 2),
        0,
    )


def test_reports_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("epoch: 3\nbatch: many\n")
    with pytest.raises(ConfigError) as caught:
        make_config({"imgsz": 0}, file)
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert f"{file}: epoch: unknown option, allowed: space, budget" in text
    assert f"{file}: batch:" in text
    assert "got 'many'" in text
    assert "--imgsz: expected a number greater than 0, got 0" in text
    assert f"{file}: space: is required" in text


@pytest.mark.parametrize("content", ["[1, 2]", "a: b: c", "", "1: x"])
def test_refuses_a_file_that_holds_no_options(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml:"):
        make_config({"space": "yolov8n", "budget": "1m"}, file)


def test_round_trip(tmp_path: Path) -> None:
    config = make_config(
        {"space": "yolov8n", "budget": "8gpu-h", "rungs": (1, 2), "max_latency": "8ms"}
        | {"max_params": "2.5M"}
    )
    file = tmp_path / "config.yaml"
    file.write_text(write_config(config, {"device": "cpu"}))
    assert read_config(file) == (config, {"device": "cpu"})


def test_a_runs_own_file_repeats_the_run(tmp_path: Path) -> None:
    config = make_config({"space": "resnet18", "budget": "5m", "max_latency": "0.8x", "seed": 3})
    file = tmp_path / "config.yaml"
    file.write_text(write_config(config, {"imgsz": 224}))
    assert make_config({}, file) == config
    assert make_config({"budget": "7m"}, file).budget == "7m"


def test_limits_in_a_file_may_be_numbers(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("space: resnet18\nbudget: 5m\nmax_params: 2500000\nmax_macs: 3G\n")
    config = make_config({}, file)
    assert config.max_params == Limit.count("2500000")
    assert config.max_macs == Limit.count("3G")
    assert config.max_latency.resolve(7.0) == 7.0  # no slower than the base unless told otherwise


def test_a_limit_without_a_unit_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config({"space": "yolov8n", "budget": "1m", "max_latency": "8"})
    assert caught.value.problems == [
        "--max-latency: expected a time such as 8ms (units: us, ms, s) or a share of the base network's "
        "such as 0.7x, got '8'"
    ]


def test_names_a_run_after_its_space() -> None:
    assert make_config({"space": "dir/my.yaml", "budget": "1m"}).run_name().startswith("my-2")
    assert make_config({"space": "yolov8n", "budget": "1m", "name": "a"}).run_name() == "a"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[
            ("gpus_per_trial", 1.5),
            ("seed", 2**32),
            ("trial_timeout_s", float("inf")),
            ("imgsz", 0),
        ],
        *[("latency_on", "gpu"), ("latency_on", "node:")],
    ],
)
def test_refuses_what_would_fail_later(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}: "):
        make_config({"space": "yolov8n", "budget": "1m", option: value})
