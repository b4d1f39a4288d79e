import subprocess
import sys
from pathlib import Path


def test_annotations_hold_at_run_time():
    script = Path(__file__).with_name("annotated.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "annotations hold" in done.stdout
