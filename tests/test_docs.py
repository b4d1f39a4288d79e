"""The code on every page runs, and the README's commands are where `.ci/run` looks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_runs(page):
    """In a process of its own, in float32, as a reader would run it."""
    code = "\n".join(BLOCK.findall(page.read_text()))
    if "read_grasshopper" in code:
        pytest.importorskip("nitime")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_example_of_the_readme_is_fifteen_lines():
    block = BLOCK.search((ROOT / "README.md").read_text())
    assert block is not None
    assert len([line for line in block.group(1).splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", ["main job", "tests"])
def test_the_commands_are_one_line_each(name):
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "readme_command.py", name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "venv" in done.stdout and len(done.stdout.splitlines()) == 1
