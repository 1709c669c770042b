"""Help fits a screen and ends with an example; what is nearly right is told with the right name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import spnas
from spnas.cli import main, make_parser

COMMANDS = sorted(make_parser().commands)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen_and_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    heading = lines.index("example:" if "example:" in lines else "examples:")
    assert all(line.startswith("  ") and "spnas" in line for line in lines[heading + 1 :])


def test_every_command_is_on_the_page_of_commands() -> None:
    page = (Path(spnas.__file__).parents[1] / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"`spnas {name}" not in page] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["serch"], "(did you mean search?)"),
        (["compar", "x"], "(did you mean compare?)"),
        (["search", "--bugdet", "1m"], "--bugdet (did you mean --budget"),
        (["search", "--space", "yolo8n", "--budget", "1m"], "(did you mean yolov8n"),
        (
            ["search", "--space", "resnet20-cifar", "--budget", "1m", "--sampler", "tep"],
            "mean tpe?)",
        ),
        (
            ["search", "--space", "resnet20-cifar", "--budget", "1m", "--runtime", "onnx"],
            "onnxruntime",
        ),
        (["profile", "--space", "resnet20-cifar", "--uniform", "gost:0.5"], "mean ghost:0.5"),
        (["completion", "fish"], "invalid choice: 'fish'"),
        (["train"], "required: MODEL"),
        (["train", "a.yaml", "--seed", "1", "epochs=3"], "expected it as an option, --epochs 3"),
        (["train", "a.yaml", "lr0"], "lr0: expected SETTING=VALUE"),
        ([], "required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(words)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2
    assert len(error.splitlines()) == 1
    assert error.startswith("spnas: error: ")
    assert told in error


def test_a_config_key_is_told_with_the_one_like_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("epoch: 3\n")
    words = ["search", "--space", "resnet20-cifar", "--budget", "1m", "--config", str(file)]
    assert main(words) == 2
    assert "(did you mean epochs" in capsys.readouterr().err


def test_bash_completes_commands_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "spnas.bash"
    script.write_text(capsys.readouterr().out)
    ask = (
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '"$(complete -p spnas | sed "s/.*-F \\([^ ]*\\).*/\\1/")"; echo "${COMPREPLY[@]}"'
    )

    def complete(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-c", ask, str(script), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert complete("spnas", "ex") == ["export"]
    assert complete("spnas", "search", "--max") == ["--max-latency", "--max-params", "--max-macs"]


def test_doctor_tells_what_the_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["spnas"] == spnas.__version__
    assert facts["devices"][-1]["device"] == "cpu"
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    usage = shutil.disk_usage(Path.cwd())
    assert facts["disk"][0]["total_gb"] == pytest.approx(usage.total / 1e9)
    assert 0 < facts["memory"]["free_gb"] < facts["memory"]["total_gb"]
    runtimes = {runtime["name"]: runtime for runtime in facts["runtimes"]}
    assert "cpu" in runtimes["onnxruntime"]["devices"]
    assert bool(runtimes["tensorrt"]["lacks"]) == (not runtimes["tensorrt"]["devices"])
    assert {extra["name"] for extra in facts["extras"]} >= {"test", "docs", "openvino"}
    assert "pytest" not in {p for extra in facts["extras"] for p in extra["missing"]}
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{word} " in f"\n{text}" for word in ("spnas", "device", "memory", "Ray"))
