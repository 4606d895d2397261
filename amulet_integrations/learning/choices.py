"""How likely it is that a user chooses an answer whose writer the user would like."""

from __future__ import annotations

import numpy as np

from amulet_integrations.learning.likelihood import Floats
from amulet_integrations.learning.spline import spread


def log_probability_of_choice(margin: Floats, lapse: float) -> Floats:
    """The log-probability that somebody chooses as a margin of rewards has it.

    The choice is Bradley and Terry's, sigmoid(margin), but for a share of choices that are made
    blindly. Without those one slip of the hand would count for the whole margin, which adds up
    over an answer's tokens to dozens of nats; with them it costs log(lapse / 2) at most. (They are
    the lapses of psychometric functions: Wichmann and Hill, Perception & Psychophysics, 2001.)

    Args:
        margin: The reward of the answer taken less that of the one turned down, in nats.
        lapse: The share of blind choices, from 0 to 1.

    Returns:
        log((1 - lapse) sigmoid(margin) + lapse / 2), same shape.
    """
    log_sigmoid: Floats = -np.logaddexp(0.0, -margin)
    if lapse == 0.0:
        return log_sigmoid
    mixed: Floats = np.logaddexp(np.log1p(-lapse) + log_sigmoid, np.log(lapse / 2.0))
    return mixed


def curves_of_choice(scales: Floats, margins: Floats, grid: Floats, lapse: float) -> Floats:
    """The log-probability of a choice all over a grid, from margins at a few guidance scales.

    Margins are smooth in the scale and are interpolated; the log-probability of a choice has a
    corner as sharp as margins are large, around which a spline through a few of its values swings
    by dozens of nats.

    Args:
        scales: Where the margins are known, rising, shape (scales,).
        margins: In nats, shape (candidates, scales).
        grid: Where the curves are wanted, shape (points,).
        lapse: The share of blind choices, from 0 to 1.

    Returns:
        Shape (candidates, points), never above 0.
    """
    return log_probability_of_choice(spread(scales, margins, grid), lapse)
