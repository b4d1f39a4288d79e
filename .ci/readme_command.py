"""Prints the shell command of README.md that is marked `<!-- command: NAME -->`."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parents[1] / "README.md").read_text()
pattern = rf"<!-- command: {re.escape(sys.argv[1])} -->\n```sh\n(.+)\n```"
found = re.findall(pattern, readme)
if len(found) != 1:
    sys.exit(f"README.md must hold one command marked {sys.argv[1]!r}, found {len(found)}.")
print(found[0])
