"""Generalised linear models of a recorded neuron, fitted by nemos: what `recorded_neuron.py` is
compared with."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

try:
    import nemos
except ImportError as error:
    raise ImportError("This compares with nemos: pip install '.[examples,data,glm]'") from error

STIMULUS, HISTORY = 24.0, 60.0  # ms, how far back the filters reach
BUMPS = 8


@dataclasses.dataclass(frozen=True)
class GLM:
    """Poisson counts in bins of `dt` with a log-linear rate."""

    dt: float
    begin: float  # of the first bin after the split
    rate: np.ndarray  # from there on, per bin
    history: bool
    model: "nemos.glm.GLM"
    inputs: np.ndarray
    kernel: np.ndarray  # of the history, (lags, bumps)
    before: np.ndarray  # counts in the last bins up to `split`

    @classmethod
    def fit(
        cls, level: np.ndarray, spikes: np.ndarray, split: float, dt: float, *, history: bool
    ) -> "GLM":
        """By maximum likelihood on [0, split], with a little ridge.

        A constant, the slow trend, the level in eight raised cosines, and if `history` the
        neuron's own spikes in another eight, evenly spaced in the logarithm of the lag.
        """
        bins = len(level)
        times = (np.arange(bins) + 0.5) * dt
        counts = np.histogram(spikes, np.arange(bins + 1) * dt)[0].astype(float)
        heard = nemos.basis.RaisedCosineLinearConv(BUMPS, window_size=round(STIMULUS / dt))
        own = nemos.basis.RaisedCosineLogConv(BUMPS, window_size=round(HISTORY / dt))
        inputs = np.column_stack([np.log1p(times / 1e3), heard.compute_features(np.asarray(level))])
        past = own.compute_features(counts)
        features = np.column_stack([inputs, past]) if history else inputs
        # The first bins lack a past.
        known = ~np.isnan(past).any(1)
        later = times - dt / 2 >= split
        training = known & ~later
        # No interval is as short as the first bumps, whose coefficients would go to minus infinity.
        model = nemos.glm.GLM(
            regularizer="Ridge",
            regularizer_strength=1e-5,
            solver_name="LBFGS",
            solver_kwargs={"tol": 1e-6, "maxiter": 5000},
        )
        # Single precision does not converge.
        with jax.enable_x64(True), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "JAXopt")
            warnings.filterwarnings("error", "The fit did not converge")
            model.fit(features[training], counts[training])
            rate = np.asarray(model.predict(features[later]))
        before = counts[~later][-own.window_size :]
        return cls(
            dt,
            times[later][0] - dt / 2,
            rate,
            history,
            model,
            inputs[later],
            np.asarray(own.kernel_),
            before,
        )

    def log_likelihood(self, test: np.ndarray) -> float:
        """Of spikes after the split, as a density: each bin's probability over dt."""
        index = np.clip(((test - self.begin) / self.dt).astype(int), 0, len(self.rate) - 1)
        return float(np.sum(np.log(self.rate[index] / self.dt)) - self.rate.sum())

    def rescaled(self, test: np.ndarray) -> np.ndarray:
        """The rescaled intervals from the split on, uniform if the model is right."""
        hazard = np.concatenate([[0.0], np.cumsum(self.rate)])
        edges = self.begin + self.dt * np.arange(len(hazard))
        return -np.expm1(-np.diff(np.interp(test, edges, hazard), prepend=0.0))

    def simulate(self, trials: int) -> list[np.ndarray]:
        """Spike times of free runs after the recorded past; two in a bin are one."""
        coefficients = np.asarray(self.model.coef_)
        stimulus, history = np.split(coefficients, [self.inputs.shape[1]])
        if not self.history:
            history = np.zeros(self.kernel.shape[1])

        def one(key):
            return nemos.simulation.simulate_recurrent(
                coupling_coef=history[None, None],
                feedforward_coef=stimulus[None],
                intercepts=np.asarray(self.model.intercept_),
                random_key=key,
                feedforward_input=self.inputs[:, None],
                coupling_basis_matrix=self.kernel,
                init_y=self.before[:, None],
                inverse_link_function=jnp.exp,
            )[0][:, 0]

        counts = np.asarray(jax.vmap(one)(jr.split(jr.key(3), trials)))
        centres = self.begin + (np.arange(counts.shape[1]) + 0.5) * self.dt
        return [centres[row > 0] for row in counts]
