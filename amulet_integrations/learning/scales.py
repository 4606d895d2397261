"""Where a curve over guidance scales is worked out."""

from __future__ import annotations

import math

import numpy as np

from amulet_integrations.learning.spline import FEWEST_KNOTS

# Dense where the likelihood bends most; a spline through these is within 0.1 standard errors.
_STEPS = ((0.0, 3.0, 0.2), (3.0, 8.0, 0.5), (8.0, 12.0, 1.0))
_RATIO = 1.15  # of one scale to the one before, past the steps


def default_scales(maximum: float) -> list[float]:
    """Guidance scales from 0 to a maximum: about 35 up to 20, about 95 up to 150,000."""
    scales: list[float] = []
    for start, stop, step in _STEPS:
        scales += [start + step * index for index in range(round((stop - start) / step))]
    last = _STEPS[-1][1]
    if maximum > last:
        count = round(math.log(maximum / last) / math.log(_RATIO))
        scales += np.geomspace(last, maximum, count + 1)[:-1].tolist()
    scales = [scale for scale in scales if scale < maximum]
    # Two knots that almost meet would make the spline's system ill-conditioned.
    if len(scales) > 1 and maximum - scales[-1] < (scales[-1] - scales[-2]) / 2.0:
        scales.pop()
    scales.append(maximum)
    if len(scales) < FEWEST_KNOTS:
        scales = np.linspace(0.0, maximum, FEWEST_KNOTS).tolist()
    return scales
