"""What is gained over what it costs, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amulet_integrations.evaluation.analysis.statistics import Estimate
from benchmarks.defaults.rule import NLL_RISE
from benchmarks.defaults.scores import Scored


def write_frontier(path: Path, settings: Mapping[str, Scored], pref: Scored, chosen: str) -> None:
    """Draws every setting's ratio over its rise of -log P(token | pref), with intervals.

    Args:
        path: The PNG file.
        settings: By their names.
        pref: The pref policy, from which rises are measured.
        chosen: The name of the setting that is drawn in another colour.
    """
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, each in settings.items():
        gain = each.mean("ratio")
        cost = each.above(pref.on(each.cells, each.facts), "pref_nll")
        if gain is None or cost is None:
            continue
        axes.errorbar(
            cost.mean,
            gain.mean,
            xerr=_ends(cost),
            yerr=_ends(gain),
            fmt="o",
            color="tab:red" if name == chosen else "tab:blue",
            elinewidth=0.7,
        )
        axes.annotate(name, (cost.mean, gain.mean), (5, 5), textcoords="offset points", size=8)
    axes.axvline(NLL_RISE, color="grey", linestyle=":", linewidth=1)
    axes.set_xlabel("nats a token that the pref context finds it less likely than its own answer")
    axes.set_ylabel("nats a token that it is likelier with the preference than without")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _ends(found: Estimate) -> list[list[float]]:
    """How far an interval reaches to both sides; nothing for one question alone."""
    low = found.mean if found.low is None else found.low
    high = found.mean if found.high is None else found.high
    return [[found.mean - low], [high - found.mean]]
