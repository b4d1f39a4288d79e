"""Random numbers by counter, cheap inside a loop and in bulk."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, UInt32

from ._misc import any_in_batch, described
from ._types import IntScalar, PRNGKey

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _rotate(x: Array, by: int) -> Array:
    return (x << by) | (x >> (32 - by))


@jax.jit
def threefry_2x32(seed: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), unrolled.

    `jax.random` runs the rounds as a loop on a CPU. Inside the loop over steps that loop
    would cost more than the rest of the step; unrolled, the rounds are one fused kernel. A
    function of its own (`jit`), so that its 100 operations are traced once.
    """
    keys = (*seed, seed[0] ^ seed[1] ^ jnp.uint32(0x1BD11BDA))
    a, b = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(5):
        for by in _ROTATIONS[i % 2]:
            a = a + b
            b = _rotate(b, by) ^ a
        a = a + keys[(i + 1) % 3]
        b = b + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return a, b


class AntitheticKey(eqx.Module):
    """A key whose random numbers are mirrored, see [`roughsnn.antithetic`][]."""

    key: PRNGKey


RandomKey: TypeAlias = PRNGKey | AntitheticKey


def antithetic(key: RandomKey) -> RandomKey:
    r"""The mirrored key: where `key` draws u and z, it draws 1 - u and -z.

    Whatever takes a key here takes a mirrored one: [`roughsnn.simulate`][],
    [`roughsnn.eventsolve`][] and the paths. A sample and its mirror image have the same law, and
    the mean of the two has less than half of the variance of one if what is averaged is monotone
    in the noise and in the thresholds:

    ```python
    pair = lambda key: (sample(key) + sample(rs.antithetic(key))) / 2
    ```

    **Arguments:**

    - `key`: a `jax.random.key`; of a mirrored key this is the original.

    ??? cite "Reference"

        J. M. Hammersley, K. W. Morton, *A new Monte Carlo technique: antithetic variates*, Math.
        Proc. Cambridge Philos. Soc. 52 (1956).
    """
    check_key(key)
    return key.key if isinstance(key, AntitheticKey) else AntitheticKey(key)


def original(key: RandomKey) -> PRNGKey:
    """The key itself, whether it is mirrored or not; a `TypeError` for what is none."""
    check_key(key)
    return key.key if isinstance(key, AntitheticKey) else key


def check_key(key: Any) -> Any:
    """`key`, if it is a single key, mirrored or not."""
    held = key.key if isinstance(key, AntitheticKey) else key
    array = isinstance(held, jax.Array)
    typed = array and jnp.issubdtype(held.dtype, jax.dtypes.prng_key) and held.shape == ()
    raw = array and held.dtype == jnp.uint32 and held.shape == (2,)
    if not typed and not raw:
        raise TypeError(
            f"`key` must be one key, e.g. jax.random.key(0), got {described(held)}. For a batch of "
            "samples use jax.vmap over keys."
        )
    return key


def check_unmirrored(key: Any) -> PRNGKey:
    """`key`, if it is a single key that is not mirrored."""
    if isinstance(check_key(key), AntitheticKey):
        raise TypeError(
            "`key` must not be a mirrored one: call `antithetic` inside of the function that draws."
        )
    return key


def split(key: RandomKey) -> tuple[RandomKey, RandomKey]:
    """Two keys of one, mirrored if it is."""
    first, second = jr.split(original(key))
    if isinstance(key, AntitheticKey):
        return AntitheticKey(first), AntitheticKey(second)
    return first, second


def seeds(key: RandomKey) -> UInt32[Array, "3"]:
    """Two words for `uniform`, from a JAX key of any implementation, and which bits are flipped."""
    words = jr.bits(original(key), (2,), jnp.uint32)
    flipped = 0xFFFFFFFF if isinstance(key, AntitheticKey) else 0
    return jnp.append(words, jnp.uint32(flipped))


def _bits(words: Array, counter: tuple[Array, Array]) -> tuple[Array, Array]:
    high, low = threefry_2x32((words[0], words[1]), counter)
    return high ^ words[2], low ^ words[2]


def _fraction(high: Array, low: Array, dtype: Any) -> Array:
    """The bits of two words as a number in (0, 1); `low` matters in float64 only."""
    if jnp.finfo(dtype).bits < 64:
        return ((high >> 9).astype(dtype) + 0.5) * jnp.asarray(2.0**-23, dtype)
    top, bottom = (high >> 5).astype(dtype), (low >> 6).astype(dtype)
    return (top * 2.0**26 + bottom + 0.5) * jnp.asarray(2.0**-53, dtype)


def uniform(
    words: UInt32[Array, " 3 *neurons"],
    coordinate: Any,
    number: IntScalar | Int[Array, "..."],
    dtype: Any,
) -> Float[Array, "..."]:
    """The u in (0, 1) of the `number`-th event of `coordinate`; number 0 is the start.

    Element by element. The same in float32 and float64 up to rounding.
    """
    counter = (jnp.asarray(coordinate).astype(jnp.uint32), jnp.asarray(number).astype(jnp.uint32))
    return _fraction(*_bits(words, counter), dtype)


def normals(
    words: UInt32[Array, " 3 *columns"],
    rows: tuple[UInt32[Array, " rows"], UInt32[Array, " rows"]],
    columns: UInt32[Array, " columns"],
    scales: Float[Array, " rows"],
) -> Float[Array, "rows columns"]:
    """Normal numbers, a row for each pair of a number and a kind (below 64), with its standard
    deviation, and a column for each of these numbers (below 2^26).

    The same in float32 and float64 up to rounding.
    """
    dtype, shape = scales.dtype, (scales.shape[0], columns.shape[0])
    words = words if words.ndim == 1 else words[:, None]

    def draw():
        row, kind = rows[0][:, None], rows[1][:, None]
        counter = columns[None] << 6 | kind, jnp.broadcast_to(row, shape)
        z = jax.lax.erf_inv(2 * _fraction(*_bits(words, counter), dtype) - 1)
        return (jnp.asarray(2**0.5, dtype) * scales)[:, None] * z

    # Always true, but XLA does not know: it would copy the generator into whatever reads its
    # numbers, and so draw each one again for each of its uses.
    wanted = any_in_batch(jnp.any((words[0] | 1) != 0))
    return jax.lax.cond(wanted, draw, lambda: jnp.zeros(shape, dtype))


def standard_normals(
    words: UInt32[Array, "3"], rows: int, columns: int, dtype: Any
) -> Float[Array, "{rows} {columns}"]:
    """Standard normal numbers; those of a column do not depend on how many columns there are."""
    number, one = jnp.arange(rows, dtype=jnp.uint32), jnp.ones(rows, dtype)
    columns_of = jnp.arange(columns, dtype=jnp.uint32)
    return normals(words, (number, jnp.zeros_like(number)), columns_of, one)


class Labels(eqx.Module):
    """The words that random numbers of coordinates come from, one for all of them or one for each,
    and the numbers of the coordinates among those with the same words; by default their own."""

    words: UInt32[Array, " 3 *coordinates"]
    entries: Int[Array, " coordinates"] | None = None

    def of_all(self, numbers: Int[Array, " coordinates"], dtype: Any) -> Float[Array, "..."]:
        """The random numbers of these events of all coordinates."""
        every = jnp.arange(numbers.shape[0], dtype=jnp.int32)
        return uniform(self.words, every if self.entries is None else self.entries, numbers, dtype)

    def of(self, coordinate: Int[Array, ""], number: IntScalar, dtype: Any) -> Float[Array, ""]:
        """The random number of an event of one coordinate."""
        words = self.words if self.words.ndim == 1 else self.words[:, coordinate]
        own = coordinate if self.entries is None else self.entries[coordinate]
        return uniform(words, own, number, dtype)
