import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import roughsnn as rs
import roughsnn.scores
import roughsnn.testing

SCRIPT = Path(__file__).with_name("programs.py")


def test_every_public_function_is_traced():
    """Functions, and classes that are made by users (not abstract, nor what a function returns)."""
    code = SCRIPT.read_text()
    returned = {"RESULTS", "Boundary", "FinalState", "Checkpoint", "StepLine"}
    returned |= {"CheckpointWarning", "StepWarning", "SelectionWarning"}
    returned |= {
        "NetworkState",
        "PopulationState",
        "LIFState",
        "AdaptiveState",
        "GLIFState",
        "HistoryState",
        "ResonatorState",
        "AdExState",
        "IzhikevichState",
    }
    returned |= {"AlphaState", "DoubleState", "TsodyksMarkramState"}
    for module in (rs, rs.losses, roughsnn.scores, roughsnn.testing):
        for name, thing in vars(module).items():
            if inspect.isfunction(thing) and not name.startswith("_"):
                returned |= set(re.findall(r"\w+", str(inspect.signature(thing).return_annotation)))
    missing = []
    for prefix, module in (
        ("rs", rs),
        ("rs.connectors", rs.connectors),
        ("rs.neurons", rs.neurons),
        ("rs.synapses", rs.synapses),
        ("rs.losses", rs.losses),
        ("rs.scores", roughsnn.scores),
        ("rs.testing", roughsnn.testing),
    ):
        for name, thing in vars(module).items():
            public = not name.startswith(("_", "Abstract")) and name not in returned
            if public and (inspect.isclass(thing) or inspect.isfunction(thing)):
                used = f"{prefix}.{name}(" in code or f"{prefix}.{name}." in code
                # Scores are called by name.
                if not used and f'"{name}"' not in code:
                    missing.append(f"{prefix}.{name}")
    assert not missing, f"{SCRIPT.name} does not call {missing}"


@pytest.mark.slow
def test_annotations_hold_and_products_have_full_precision():
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"annotations hold; (\d+) products, (\d+) of default", done.stdout)
    assert found is not None, done.stdout[-3000:]
    assert int(found[1]) > 100
    assert found[2] == "0", done.stdout[-6000:]
