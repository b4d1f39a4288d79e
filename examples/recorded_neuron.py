"""Estimate the input and the parameters of a recorded neuron, by descent through its spikes.

An auditory receptor of a grasshopper hears a tone whose loudness fluctuates (Rokem et al.,
J. Neurophysiology 2006; the recordings come with the package nitime). The model is a leaky
integrate-and-fire neuron with stochastic firing whose input current is

    gain * level(t - delay) + offset - fatigue * log(1 + t / 1 s),

`level` being the standardised loudness in decibel: receptors code intensity about
logarithmically, and the experiment drew the modulation from a normal law in decibel. The
last term is for the slow adaptation that is plain in the data: the rate falls from 127 to
78 Hz in ten seconds of a stationary stimulus.

Training: from every recorded spike the model, in the state that the past spikes have left
it in, is to predict the next three spike times. The energy score of these predictions, a
proper score of the law of (tau_1, tau_2, tau_3), is minimised by gradient descent through
the simulated events. The last quarter of the recording is kept for judging.

    python examples/recorded_neuron.py [--recording 2] [--full]
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import scipy.stats
from recorded_picture import draw, table

import roughsnn as rs

DT = 0.5  # ms, cell length and sampling of the stimulus
NEXT, HORIZON = 3, 60.0  # spikes to predict, and for how long at most (ms)
SPLIT = 0.75
SMOOTHING = 5.0  # ms, width of the window for firing rates


class Receptor(eqx.Module):
    """The parameters that are estimated; positive ones as logarithms."""

    log_mu: jax.Array
    log_reset: jax.Array
    log_beta: jax.Array
    gain: jax.Array
    offset: jax.Array
    fatigue: jax.Array
    log_delay: jax.Array

    def intensity(self) -> rs.ExponentialIntensity:
        """The hazard per ms: 1 at threshold 1."""
        return rs.ExponentialIntensity(jnp.exp(self.log_beta), 1.0, 1.0)

    def network(self) -> rs.SpikingNetwork:
        """The neuron without its input."""
        rates = jnp.stack([jnp.exp(self.log_mu), jnp.zeros(())])
        return rs.SpikingNetwork(
            membrane=rs.LIF(mu=rates, v_reset=jnp.exp(self.log_reset)),
            firing=rs.StochasticFiring(self.intensity()),
        )

    def current(self, level: jax.Array, t: jax.Array) -> jax.Array:
        """The input at times `t`, in ms."""
        heard = interpolate(level, t - jnp.exp(self.log_delay))
        return self.gain * heard + self.offset - self.fatigue * jnp.log1p(t / 1e3)


def interpolate(level: jax.Array, t: jax.Array) -> jax.Array:
    """The level at `t`, linear between samples `DT` apart (the ends go on)."""
    position = t / DT
    index = jnp.clip(jnp.floor(position), 0, len(level) - 2).astype(jnp.int32)
    return level[index] + (position - index) * (level[index + 1] - level[index])


def stimulus_level(recording: rs.io.Recording) -> jax.Array:
    """The standardised loudness in decibel, averaged to one sample per `DT`."""
    spacing = recording.stimulus_times[1] - recording.stimulus_times[0]
    per_bin = round(DT / spacing)
    decibel = 20 * np.log10(recording.amplitude)
    bins = len(decibel) // per_bin
    level = decibel[: bins * per_bin].reshape(bins, per_bin).mean(1)
    return jnp.asarray((level - level.mean()) / level.std(), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Clamp:
    """The recorded spikes merged with the grid: what a clamped neuron is integrated over."""

    points: np.ndarray  # times, increasing
    is_spike: np.ndarray
    spikes: np.ndarray  # spike times

    @classmethod
    def on(cls, spikes: np.ndarray, t1: float) -> "Clamp":
        """The grid on [0, t1] with the spikes in it."""
        points = np.union1d(np.arange(0.0, t1 + DT / 2, DT), spikes)
        return cls(points, np.isin(points, spikes), spikes)


def clamped_potential(model: Receptor, level: jax.Array, clamp: Clamp):
    """v just before and just after every point, the recorded spikes being imposed.

    Between points the input is linear in time, so each step is exact.
    """
    mu, reset = jnp.exp(model.log_mu), jnp.exp(model.log_reset)
    input_at = model.current(level, jnp.asarray(clamp.points))
    steps = jnp.asarray(np.diff(clamp.points, prepend=clamp.points[0]), jnp.float32)
    before = jnp.concatenate([input_at[:1], input_at[:-1]])
    x = mu * steps
    decay = jnp.exp(-x)
    mean_decay = jnp.where(x > 0, -jnp.expm1(-x) / jnp.where(x > 0, x, 1), 1)
    # v1 = decay v0 + (weights of a linear input at both ends)
    driven = (mean_decay - decay) * before + (1 - mean_decay) * input_at
    drop = reset * jnp.asarray(clamp.is_spike, jnp.float32)

    def step(v, row):
        decay, driven, drop = row
        left = decay * v + driven
        return left - drop, (left, left - drop)

    return jax.lax.scan(step, input_at[0], (decay, driven, drop))[1]


def integrated_hazard(model: Receptor, level: jax.Array, clamp: Clamp):
    """The log intensity just before each spike, and the hazard up to each point."""
    left, right = clamped_potential(model, level, clamp)
    intensity = model.intensity()
    steps = jnp.asarray(np.diff(clamp.points), jnp.float32)
    hazard = steps * 0.5 * (intensity(right[:-1]) + intensity(left[1:]))
    at_spikes = jnp.log(intensity(left[np.flatnonzero(clamp.is_spike)]))
    return at_spikes, jnp.concatenate([jnp.zeros(1), jnp.cumsum(hazard)])


def energy_score(predicted: jax.Array, observed: jax.Array) -> jax.Array:
    """E|X - y| - E|X - X'|/2 for samples `predicted` (samples, spikes), without bias."""

    def norm(x):
        return jnp.sqrt(jnp.sum(x**2, -1) + 1e-6)

    samples = predicted.shape[0]
    spread = jnp.sum(norm(predicted[:, None] - predicted[None])) - samples * 1e-3
    return jnp.mean(norm(predicted - observed[None])) - spread / (2 * samples * (samples - 1))


def make_loss(level: jax.Array, clamp: Clamp, batch: int, samples: int):
    """The mean energy score of predictions from `batch` recorded spikes."""
    spikes = jnp.asarray(clamp.spikes, jnp.float32)
    at_spikes = np.flatnonzero(clamp.is_spike)
    last_start = len(clamp.spikes) - NEXT - 1

    def loss(model, data, key):
        del data
        _, after = clamped_potential(model, level, clamp)
        start_key, key = jr.split(key)
        starts = jr.randint(start_key, (batch,), 0, last_start)
        network = model.network()

        def score(start, key):
            begin = spikes[start]
            observed = jax.lax.dynamic_slice(spikes, (start + 1,), (NEXT,)) - begin
            v = after[jnp.asarray(at_spikes)[start]][None]
            initial = rs.NeuronState(v, jnp.zeros(1), None)

            def predict(key):
                train = rs.simulate(
                    network, lambda t: model.current(level, begin + t)[None],
                    t0=0.0, t1=HORIZON, dt0=DT, max_spikes=NEXT, stop_after=NEXT,
                    key=key, initial=initial,
                )  # fmt: skip
                # A spike that does not come counts as one at the horizon.
                return jnp.where(jnp.isfinite(train.times), train.times, HORIZON)

            predicted = jax.vmap(predict)(jr.split(key, samples))
            return energy_score(predicted, jnp.minimum(observed, HORIZON))

        return jnp.mean(jax.vmap(score)(starts, jr.split(key, batch)))

    return loss


def poisson_features(level: jax.Array, t: np.ndarray) -> np.ndarray:
    """A constant, the slow trend, and the level over the last 20 ms in eight averages."""
    lags = np.arange(0.0, 24.0, DT)
    centres = np.linspace(0.0, 20.0, 8)
    width = centres[1] - centres[0]
    bumps = np.clip((lags[:, None] - centres[None]) / width, -1, 1)
    bumps = 0.5 * (1 + np.cos(np.pi * bumps))
    lagged = np.asarray(interpolate(level, jnp.asarray(t[:, None] - lags[None], jnp.float32)))
    trend = np.log1p(t[:, None] / 1e3)
    return np.concatenate([np.ones((len(t), 1)), trend, lagged @ (bumps / bumps.sum(0))], 1)


def fit_poisson(level: jax.Array, spikes: np.ndarray, t1: float) -> np.ndarray:
    """Maximum likelihood of a Poisson process with log-linear rate, by Newton's method."""
    grid = np.arange(0.0, t1, DT) + DT / 2
    on_grid, at_spikes = poisson_features(level, grid), poisson_features(level, spikes)
    w = np.zeros(on_grid.shape[1])
    w[0] = np.log(len(spikes) / t1)
    for _ in range(30):
        rate = np.exp(on_grid @ w) * DT
        gradient = at_spikes.sum(0) - on_grid.T @ rate
        hessian = (on_grid * rate[:, None]).T @ on_grid + 1e-6 * np.eye(len(w))
        w = w + np.linalg.solve(hessian, gradient)
    return w


def smooth_rate(spikes: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The firing rate on `grid` in Hz, by a Gaussian window."""
    z = (grid[:, None] - spikes[None]) / SMOOTHING
    return 1e3 * np.exp(-0.5 * z**2).sum(1) / (SMOOTHING * np.sqrt(2 * np.pi))


def judge(model: Receptor, level: jax.Array, clamp: Clamp, t1: float, trials: int) -> dict:
    """Scores on the last quarter, against two baselines, and what the pictures need."""
    split = SPLIT * t1
    spikes = clamp.spikes
    train, test = spikes[spikes < split], spikes[spikes >= split]
    log_rate, hazard = map(np.asarray, integrated_hazard(model, level, clamp))
    at_points = np.interp([split, t1], clamp.points, hazard)
    model_ll = log_rate[spikes >= split].sum() - (at_points[1] - at_points[0])
    homogeneous = len(train) / split
    homogeneous_ll = len(test) * np.log(homogeneous) - homogeneous * (t1 - split)
    w = fit_poisson(level, train, split)
    grid = np.arange(split, t1, DT) + DT / 2
    poisson_rate = np.exp(poisson_features(level, grid) @ w)
    poisson_ll = (poisson_features(level, test) @ w).sum() - poisson_rate.sum() * DT
    at_spikes = hazard[np.flatnonzero(clamp.is_spike)][spikes >= split]
    rescaled = 1 - np.exp(-np.diff(at_spikes))
    ks = scipy.stats.kstest(rescaled, "uniform")
    simulated = simulate_freely(model, level, clamp, split, t1, trials)
    recorded_rate = smooth_rate(test, grid)
    model_rate = np.mean([smooth_rate(s + split, grid) for s in simulated], 0)
    window = np.exp(-0.5 * (np.arange(-15.0, 15.0 + DT, DT) / SMOOTHING) ** 2)
    baseline_rate = np.convolve(poisson_rate, window / window.sum(), "same")
    counts = [len(s) for s in simulated]
    isi, model_isi = np.diff(test), np.concatenate([np.diff(s) for s in simulated])
    n = len(test)
    shown = np.arange(0.0, 400.0, DT)
    return {
        "scores": {
            "test_spikes": n,
            "log_likelihood_per_spike_nats": {
                "model": float(model_ll / n),
                "inhomogeneous_poisson": float(poisson_ll / n),
                "homogeneous_poisson": float(homogeneous_ll / n),
            },
            "bits_per_spike_over_homogeneous": {
                "model": float((model_ll - homogeneous_ll) / n / np.log(2)),
                "inhomogeneous_poisson": float((poisson_ll - homogeneous_ll) / n / np.log(2)),
            },
            "time_rescaling_ks": float(ks.statistic),
            "time_rescaling_p": float(ks.pvalue),
            "ks_95_percent_band": float(1.36 / np.sqrt(len(rescaled))),
            "rate_correlation": {
                "model": float(np.corrcoef(recorded_rate, model_rate)[0, 1]),
                "inhomogeneous_poisson": float(np.corrcoef(recorded_rate, baseline_rate)[0, 1]),
            },
            "isi_mean_ms": {"recorded": float(isi.mean()), "model": float(model_isi.mean())},
            "isi_cv": {
                "recorded": float(isi.std() / isi.mean()),
                "model": float(model_isi.std() / model_isi.mean()),
            },
            "shortest_isi_ms": {
                "recorded": float(isi.min()),
                "model_first_percentile": float(np.percentile(model_isi, 1)),
            },
            "spike_count": {
                "recorded": n,
                "model_mean": float(np.mean(counts)),
                "model_sd": float(np.std(counts)),
            },
        },
        "pictures": {
            "rescaled": np.sort(rescaled), "simulated": simulated, "test": test,
            "isi": isi, "model_isi": model_isi, "split": split,
            "level": (shown, np.asarray(interpolate(level, jnp.asarray(split + shown)))),
        },
    }  # fmt: skip


def simulate_freely(model, level, clamp, split, t1, trials) -> list[np.ndarray]:
    """Spike times since `split` of `trials` free runs from the clamped state there."""
    _, after = clamped_potential(model, level, clamp)
    v = after[np.searchsorted(clamp.points, split)][None]
    room = 4 * int(np.sum(clamp.spikes >= split)) + 100

    @jax.jit
    def run(key):
        return rs.simulate(
            model.network(), lambda t: model.current(level, split + t)[None],
            t0=0.0, t1=t1 - split, dt0=DT, max_spikes=room, key=key,
            initial=rs.NeuronState(v, jnp.zeros(1), None),
        )  # fmt: skip

    trains = jax.vmap(run)(jr.split(jr.key(7), trials))
    return [sample[0] for sample in trains.to_lists()]


def main(argv: list[str] | None = None) -> Path:
    """Fits the neuron and writes `results.json`, `table.md` and a picture."""
    parser = argparse.ArgumentParser(description="Fit a recorded neuron.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="output folder")
    parser.add_argument("--recording", type=int, default=1, choices=(1, 2))
    parser.add_argument("--full", action="store_true", help="more steps and larger batches")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    recording = rs.io.read_grasshopper(args.recording)
    level = stimulus_level(recording)
    t1 = DT * len(level)
    spikes = np.asarray(recording.spikes.to_lists()[0], float)
    training = Clamp.on(spikes[spikes < SPLIT * t1], SPLIT * t1)
    steps, batch, samples = (2000, 64, 16) if args.full else (600, 32, 8)
    start = Receptor(
        log_mu=jnp.log(0.2), log_reset=jnp.log(1.0), log_beta=jnp.log(5.0),
        gain=jnp.array(0.3), offset=jnp.array(0.8), fatigue=jnp.array(0.0),
        log_delay=jnp.log(4.0),
    )  # fmt: skip
    schedule = optax.cosine_decay_schedule(0.03, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    loss = make_loss(level, training, batch, samples)
    result = rs.fit(start, loss, None, optimiser, steps=steps, key=jr.key(0))
    if result.stopped:
        raise RuntimeError(result.stopped)
    model = result.model
    judged = judge(model, level, Clamp.on(spikes, t1), t1, trials=40)
    parameters = {
        "decay_rate_per_ms": float(jnp.exp(model.log_mu)),
        "reset": float(jnp.exp(model.log_reset)),
        "beta": float(jnp.exp(model.log_beta)),
        "gain_per_sd": float(model.gain),
        "offset": float(model.offset),
        "fatigue": float(model.fatigue),
        "delay_ms": float(jnp.exp(model.log_delay)),
    }
    results = {
        "recording": args.recording,
        "parameters": parameters,
        "loss": result.history["loss"].tolist(),
        "seconds_per_step": float(np.median(result.seconds[1:])),
        "seconds": time.perf_counter() - begin,
        **judged["scores"],
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    (args.out / "table.md").write_text(table(judged["scores"]) + "\n")
    draw(judged, args.out / "recorded_neuron.png")
    print(json.dumps(parameters, indent=1))
    print(table(judged["scores"]))
    print(f"\nPicture: {args.out / 'recorded_neuron.png'}")
    print(f"Table:   {args.out / 'table.md'}")
    print(f"Numbers: {args.out / 'results.json'}")
    return args.out


if __name__ == "__main__":
    main()
