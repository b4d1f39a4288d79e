"""Estimate the input and the parameters of a recorded neuron, by descent through its spikes.

An auditory receptor of a grasshopper hears a tone whose loudness fluctuates (Rokem et al.,
J. Neurophysiology 2006; the recordings come with the package nitime). The model is a leaky
integrate-and-fire neuron with stochastic firing whose input current is

    gain * level(t - delay) + offset - fatigue * log(1 + t / 1 s),

`level` being the standardised loudness in decibel: receptors code intensity about
logarithmically, and the experiment drew the modulation from a normal law in decibel. The
last term is for the slow adaptation that is plain in the data: the rate falls from 127 to
78 Hz in ten seconds of a stationary stimulus.

Three trainings of the same model:

- `likelihood`: of the recorded spikes, exactly (`roughsnn.clamp`);
- `score`: from every recorded spike the model, in the state that the past spikes have left it in,
  is to predict the next three spike times. The energy score of these predictions, a proper score of
  the law of (tau_1, tau_2, tau_3), is minimised by gradient descent through the simulated events;
- `both`: the two, their gradients balanced.

What follows the last spike before three quarters of the recording is kept for judging, beside two
generalised linear models that nemos fits to the same data, without and with the neuron's past.

    python examples/recorded_neuron.py [--recording 2] [--full]
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import scipy.stats
from recorded_glm import GLM
from recorded_picture import draw, table

import roughsnn as rs

DT = 0.5  # ms, cell length and sampling of the stimulus
NEXT, HORIZON = 3, 60.0  # spikes to predict, and for how long at most (ms)
SPLIT = 0.75
SMOOTHING = 5.0  # ms, width of the window for firing rates
METHODS = ("likelihood", "score", "both")


class Receptor(eqx.Module):
    """The parameters that are estimated; positive ones as logarithms."""

    log_tau: jax.Array
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
        neuron = rs.neurons.LIF(jnp.exp(self.log_tau), rs.Subtract(jnp.exp(self.log_reset)))
        firing = rs.StochasticFiring(self.intensity())
        return rs.SpikingNetwork(rs.Population(1, neuron, firing))

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


def train_of(spikes: np.ndarray, t1: float) -> rs.SpikeTrain:
    """The spikes up to `t1`."""
    return rs.SpikeTrain.from_lists([spikes[spikes <= t1]], t0=0.0, t1=float(t1))


@eqx.filter_jit
def clamped(model: Receptor, level: jax.Array, train: rs.SpikeTrain) -> rs.Clamped:
    """The neuron that spikes when the recorded one did, from rest on."""
    return rs.clamp(
        model.network(),
        lambda t: model.current(level, t)[None],
        train,
        rs.Window(train.t0, train.t1, DT),
        initial={"v": model.current(level, jnp.zeros(1))},
    )


def after_spikes(model: Receptor, found: rs.Clamped) -> jax.Array:
    """v just after each recorded spike: the intensity just before tells what it was."""
    return 1 + found.log_intensities / jnp.exp(model.log_beta) - jnp.exp(model.log_reset)


def energy_score(predicted: jax.Array, observed: jax.Array) -> jax.Array:
    """E|X - y| - E|X - X'|/2 for samples `predicted` (samples, spikes), without bias."""

    def norm(x):
        return jnp.sqrt(jnp.sum(x**2, -1) + 1e-6)

    samples = predicted.shape[0]
    spread = jnp.sum(norm(predicted[:, None] - predicted[None])) - samples * 1e-3
    return jnp.mean(norm(predicted - observed[None])) - spread / (2 * samples * (samples - 1))


def make_losses(method: str, level: jax.Array, batch: int, samples: int):
    """The losses of a method; the score is of predictions from `batch` recorded spikes."""

    def losses(model, train, key):
        clamp = clamped(model, level, train)
        found = {}
        if method != "score":
            found["likelihood"] = -clamp.log_likelihood[0] / train.times.shape[0]
        if method != "likelihood":
            found["score"] = mean_score(model, train.times, after_spikes(model, clamp), key)
        return found

    def mean_score(model, spikes, after, key):
        start_key, key = jr.split(key)
        starts = jr.randint(start_key, (batch,), 0, spikes.shape[0] - NEXT)
        network = model.network()

        def score(start, key):
            begin = spikes[start]
            observed = jax.lax.dynamic_slice(spikes, (start + 1,), (NEXT,)) - begin
            initial = {"v": after[start][None]}

            def predict(key):
                train = rs.simulate(
                    network,
                    lambda t: model.current(level, begin + t)[None],
                    rs.Window(0.0, HORIZON, DT, stop_after=NEXT),
                    max_spikes=NEXT,
                    key=key,
                    initial=initial,
                    engine=rs.EventByEvent(),
                ).spikes
                # A spike that does not come counts as one at the horizon.
                return jnp.where(jnp.isfinite(train.times), train.times, HORIZON)

            predicted = jax.vmap(predict)(jr.split(key, samples))
            return energy_score(predicted, jnp.minimum(observed, HORIZON))

        return jnp.mean(jax.vmap(score)(starts, jr.split(key, batch)))

    return losses


def smooth_rate(spikes: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The firing rate on `grid` in Hz, by a Gaussian window."""
    z = (grid[:, None] - spikes[None]) / SMOOTHING
    return 1e3 * np.exp(-0.5 * z**2).sum(1) / (SMOOTHING * np.sqrt(2 * np.pi))


class Held(NamedTuple):
    """The recording, and where what is held out begins: at a spike."""

    level: jax.Array
    spikes: np.ndarray
    split: float
    t1: float

    @property
    def train(self) -> rs.SpikeTrain:
        """What is trained on."""
        return train_of(self.spikes, self.split)

    @property
    def test(self) -> np.ndarray:
        """The spikes that are held out."""
        return self.spikes[self.spikes > self.split]


def judge(data: Held, log_likelihood: float, rescaled: np.ndarray, trials: list) -> dict:
    """Scores of a model: of held-out spikes, and of free runs in their time."""
    test = data.test
    held_out = rs.SpikeTrain.from_lists([test], t0=data.split, t1=data.t1)
    ks = scipy.stats.kstest(rescaled, "uniform")
    grid = np.arange(data.split, data.t1, DT)
    rate = np.mean([smooth_rate(s, grid) for s in trials], 0)
    intervals = np.concatenate([np.diff(s) for s in trials])
    counts = [len(s) for s in trials]
    return {
        "log_likelihood_per_spike_nats": log_likelihood / len(test),
        "bits_per_spike": rs.scores.bits_per_spike(
            log_likelihood, *(rs.SpikeTrain.stack([z]) for z in (held_out, data.train))
        ),
        "time_rescaling_ks": float(ks.statistic),
        "time_rescaling_p": float(ks.pvalue),
        "rate_correlation": float(np.corrcoef(smooth_rate(test, grid), rate)[0, 1]),
        **describe(intervals),
        "spikes": float(np.mean(counts)),
        "spikes_sd": float(np.std(counts)),
        "rescaled": np.sort(rescaled),
        "intervals": intervals,
        "trials": trials,
    }


def describe(intervals: np.ndarray) -> dict:
    """Mean, CV and smallest values of intervals."""
    return {
        "mean_interval_ms": float(intervals.mean()),
        "cv": float(intervals.std() / intervals.mean()),
        "first_percentile_ms": float(np.percentile(intervals, 1)),
    }


def judge_receptor(model: Receptor, data: Held, trials: int) -> dict:
    """Of a receptor."""
    whole, known = (
        clamped(model, data.level, train_of(data.spikes, t)) for t in (data.t1, data.split)
    )
    log_likelihood = float(whole.log_likelihood[0] - known.log_likelihood[0])
    # The interval that ends with the first held-out spike began at the split.
    rescaled = np.asarray(whole.quantiles)[data.spikes > data.split]
    v = after_spikes(model, known)[-1:]
    free = simulate_freely(model, data.level, v, data.split, data.t1, 4 * len(data.test), trials)
    return judge(data, log_likelihood, rescaled, [sample[0] for sample in free.to_lists()])


@eqx.filter_jit
def simulate_freely(model, level, v, t0: float, t1: float, room: int, trials: int):
    """Free runs from the potential `v` at t0 on."""

    def run(key):
        return rs.simulate(
            model.network(),
            lambda t: model.current(level, t)[None],
            rs.Window(t0, t1, DT),
            max_spikes=room,
            key=key,
            initial={"v": v},
            engine=rs.EventByEvent(),
        ).spikes

    return jax.vmap(run)(jr.split(jr.key(7), trials))


def judge_glm(data: Held, trials: int, *, history: bool) -> dict:
    """Of a generalised linear model, fitted here."""
    glm = GLM.fit(np.asarray(data.level), data.spikes, data.split, DT, history=history)
    free = glm.simulate(trials)
    return judge(data, glm.log_likelihood(data.test), glm.rescaled(data.test), free)


def train(method: str, data: Held, steps: int, batch: int, samples: int) -> rs.Fit:
    """One fit."""
    start = Receptor(
        log_tau=jnp.log(5.0),
        log_reset=jnp.log(1.0),
        log_beta=jnp.log(5.0),
        gain=jnp.array(0.3),
        offset=jnp.array(0.8),
        fatigue=jnp.array(0.0),
        log_delay=jnp.log(4.0),
    )
    schedule = optax.cosine_decay_schedule(0.03, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    losses = make_losses(method, data.level, batch, samples)
    objective = rs.Objective(losses, balance=method == "both")
    result = rs.fit(start, objective, data.train, optimiser, steps=steps, key=jr.key(0))
    if result.stopped:
        raise RuntimeError(result.stopped)
    return result


def parameters(model: Receptor) -> dict:
    """In units of ms."""
    return {
        "time_constant_ms": float(jnp.exp(model.log_tau)),
        "reset": float(jnp.exp(model.log_reset)),
        "beta": float(jnp.exp(model.log_beta)),
        "gain_per_sd": float(model.gain),
        "offset": float(model.offset),
        "fatigue": float(model.fatigue),
        "delay_ms": float(jnp.exp(model.log_delay)),
    }


def main(argv: list[str] | None = None) -> Path:
    """Fits the neuron and writes `results.json`, `table.md` and a picture."""
    parser = argparse.ArgumentParser(description="Fit a recorded neuron.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="output folder")
    parser.add_argument("--recording", type=int, default=1, choices=(1, 2))
    parser.add_argument("--full", action="store_true", help="more steps and larger batches")
    parser.add_argument("--steps", type=int, help="of each fit (600; 2000 with --full)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    recording = rs.io.read_grasshopper(args.recording)
    level = stimulus_level(recording)
    t1 = DT * len(level)
    spikes = np.asarray(recording.spikes.to_lists()[0], float)
    data = Held(level, spikes, float(spikes[spikes < SPLIT * t1][-1]), t1)
    batch, samples = (64, 16) if args.full else (32, 8)
    steps = args.steps or (2000 if args.full else 600)
    judged, fits = {}, {}
    for method in METHODS:
        begin = time.perf_counter()
        result = train(method, data, steps, batch, samples)
        judged[method] = judge_receptor(result.model, data, trials=40)
        fits[method] = {
            "parameters": parameters(result.model),
            "seconds_per_step": float(np.median(result.seconds[1:])),
            "seconds": time.perf_counter() - begin,
            **{name: values.tolist() for name, values in result.history.items()},
        }
    judged["glm"] = judge_glm(data, trials=40, history=True)
    judged["stimulus"] = judge_glm(data, trials=40, history=False)
    recorded = {"spikes": len(data.test), **describe(np.diff(data.test))}
    scores = {
        name: {k: v for k, v in row.items() if isinstance(v, float)} for name, row in judged.items()
    }
    results = {"recording": args.recording, "scores": scores, "recorded": recorded, "fits": fits}
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    (args.out / "table.md").write_text(table(judged, recorded) + "\n")
    shown = np.arange(0.0, 400.0, DT)
    heard = np.asarray(interpolate(level, jnp.asarray(data.split + shown)))
    draw(
        judged, data.test - data.split, data.split, (shown, heard), args.out / "recorded_neuron.png"
    )
    print(json.dumps({m: fits[m]["parameters"] for m in METHODS}, indent=1))
    print(table(judged, recorded))
    print(f"\nPicture: {args.out / 'recorded_neuron.png'}")
    print(f"Table:   {args.out / 'table.md'}")
    print(f"Numbers: {args.out / 'results.json'}")
    return args.out


if __name__ == "__main__":
    main()
