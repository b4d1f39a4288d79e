"""Prints the newest Python that the project allows and that is not the one which runs this, if any.

It looks for `python3.N` on the path and under the root of pyenv.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = 11, 30
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def works(python: str, minor: int) -> bool:
    """Whether it starts, as this version: pyenv leaves commands behind that do not."""
    code = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, {minor}))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def newest_other() -> str | None:
    """The command that starts it."""
    for minor in range(NEWEST, OLDEST - 1, -1):
        if minor == sys.version_info.minor:
            continue
        known = [shutil.which(f"python3.{minor}")]
        known += sorted(map(str, PYENV.glob(f"versions/3.{minor}.*/bin/python")), reverse=True)
        for python in known:
            if python and works(python, minor):
                return python
    return None


if __name__ == "__main__":
    print(newest_other() or "")
