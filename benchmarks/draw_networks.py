"""Draws the cost of large networks from the JSON file of `test_networks.py`.

python benchmarks/draw_networks.py FILE PICTURE
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402


def main(source: Path, picture: Path) -> None:
    """Time and memory against neurons and against synapses, with lines of slope one."""
    rows = []
    for found in json.loads(source.read_text())["benchmarks"]:
        info = found["params"] | found["extra_info"] | {"seconds": found["stats"]["median"]}
        rows.append(info)
    sparse = [r for r in rows if r["kind"] == "sparse"]
    panels = [
        ("neurons", [r for r in sparse if r["synapses"] == 100], "seconds", "time (s)"),
        ("synapses", [r for r in sparse if r["neurons"] == 4000], "seconds", "time (s)"),
        (
            "neurons",
            [r for r in sparse if r["synapses"] == 100],
            "temporary memory (MiB)",
            "temporary memory (MiB)",
        ),
    ]
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for axis, (along, some, what, label) in zip(axes, panels, strict=True):
        for mode, colour in (("forward", "C0"), ("value and grad", "C1")):
            points = sorted((r[along], r[what]) for r in some if r["mode"] == mode)
            xs, ys = zip(*points, strict=True)
            axis.loglog(xs, ys, "o-", color=colour, label=mode)
            axis.loglog(xs, [ys[-1] * x / xs[-1] for x in xs], ":", color=colour, lw=0.8)
        given = "100 synapses each" if along == "neurons" else "4000 neurons"
        name = "neurons" if along == "neurons" else "synapses of each neuron"
        axis.set(xlabel=name, ylabel=label, title=f"one second in 1000 cells, {given}")
        axis.title.set_fontsize(9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    fig.savefig(picture, dpi=150)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
