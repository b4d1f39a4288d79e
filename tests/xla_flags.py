"""XLA flags that make programs compile faster and run slower; run as a script it prints them."""

import os
import re
import subprocess
import sys

# Without fusion emitters one jaxlib (0.10) stands still in a loop over batches that holds two
# kernels and the derivative of one of them; no test has that.
_WANTED = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
)


def quick_flags() -> str:
    """Those that the installed jaxlib knows: it ends the process at any other."""
    environment = dict(os.environ, XLA_FLAGS="--help", JAX_PLATFORMS="cpu")
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import jax; jax.devices()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    known = set(re.findall(r"^\s*(--\w+)=", asked.stdout + asked.stderr, re.MULTILINE))
    return " ".join(flag for flag in _WANTED if flag.split("=")[0] in known)


if __name__ == "__main__":
    print(quick_flags())
