"""Connectors: random synapses from one population onto another."""

from ._model.connectors import fixed_in_degree as fixed_in_degree
from ._model.connectors import fixed_out_degree as fixed_out_degree
from ._model.connectors import fixed_probability as fixed_probability
