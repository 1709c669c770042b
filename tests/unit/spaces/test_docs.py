"""What docs/search-spaces.md shows works."""

import re
from pathlib import Path

import pytest

from spnas.spaces import load_space


def test_the_examples_are_spaces(repo_root: Path, tmp_path: Path) -> None:
    text = (repo_root / "docs" / "search-spaces.md").read_text()
    sizes = []
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        sizes.append(10 ** load_space(path).log10_size)
    assert sizes[0] == pytest.approx(4**32 * 3**6)  # pconv keeps the size: not where it is halved
    assert sizes[1] == pytest.approx(6**38)
    assert sizes[2] == pytest.approx(3**12)
    assert sizes[3] == pytest.approx(81)


def test_the_python_example_runs(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repo_root / "docs" / "search-spaces.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, {})
    assert capsys.readouterr().out.startswith("39 29.5")
