"""Times of forward and value-and-grad in float32, compilation time and memory.

    python -m pytest benchmarks --benchmark-columns=min,median,rounds

`extra_info` of the saved results (`--benchmark-json`) and the printed lines hold the
seconds of the first call and the compiled program's temporary memory.
"""

import resource
import time

import jax
import pytest

from .problems import PROBLEMS, keys, mean_square

MODES = {"forward": lambda f: f, "value and grad": jax.value_and_grad}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_speed(benchmark, problem, mode, capsys):
    run, parameters = PROBLEMS[problem]()
    batch = keys()
    fn = jax.jit(MODES[mode](mean_square(run)))
    begin = time.perf_counter()
    compiled = fn.lower(parameters, batch).compile()
    jax.block_until_ready(compiled(parameters, batch))
    first = time.perf_counter() - begin
    analysis = compiled.memory_analysis()
    memory = float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20
    benchmark.group = problem
    benchmark.extra_info["first call (s)"] = first
    benchmark.extra_info["temporary memory (MiB)"] = memory
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    benchmark.extra_info["peak of the process so far (MiB)"] = peak
    benchmark.pedantic(
        lambda: jax.block_until_ready(compiled(parameters, batch)), rounds=30, warmup_rounds=3
    )
    with capsys.disabled():
        print(
            f"\n{problem}, {mode}: first call {first:.2f} s, "
            f"temporary {memory:.1f} MiB, process {peak:.0f} MiB"
        )
