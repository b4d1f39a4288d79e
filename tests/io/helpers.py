"""What tests of recordings share."""

import numpy as np


def plain(thing):
    """Tables and arrays as dicts and lists."""
    if isinstance(thing, dict):
        return {name: plain(part) for name, part in thing.items()}
    if isinstance(thing, (np.ndarray, list, tuple)):
        return [plain(part) for part in thing]
    return thing.item() if isinstance(thing, np.generic) else thing
