"""Tables in Markdown, and the gate that the rule chooses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amulet_integrations.evaluation.analysis.statistics import Estimate, estimate
from amulet_integrations.evaluation.runs.journal import Journal
from benchmarks.defaults.settings import BASE, PREF, Setting
from benchmarks.defaults.study import RecordedAnswer
from benchmarks.relevance.gates import OPEN, Key, Pair, StudiedGate, pairs_of
from benchmarks.relevance.parts import ANSWERS, DEFAULT, SETTINGS
from benchmarks.relevance.preferences import PREFERENCES
from benchmarks.relevance.signals import SIGNALS, Signals

CHOOSING, REPORTING = 0, 1
NEARLY = 0.02
"""A threshold that loses so much more right answers than the best is as good, if it is lower."""

REFERENCES = ("known topics", "perfect")
"""Kinds that only show what is possible: they know the answer."""

_THRESHOLDS = 40


class GateFigures(NamedTuple):
    """What a setting does behind a gate.

    Attributes:
        lost: The share of right answers that are lost, of neutral questions.
        topics: The share of preferences about a topic that are followed, of the questions that
            they concern.
        style: The share of preferences of style that are followed, everywhere.
    """

    lost: Estimate | None
    topics: Estimate | None
    style: Estimate | None

    @property
    def followed(self) -> float:
        """What is followed, topics and style alike."""
        return sum(_mean(it) for it in (self.topics, self.style)) / 2


def write_report(folder: Path) -> str:
    """Writes the tables into the folder, and returns them."""
    answers = Journal.read(folder / ANSWERS, RecordedAnswer)
    pairs = pairs_of(answers, Journal.read(folder / SIGNALS, Signals), _cosines(folder, answers))
    kinds = max((it.scores for it in pairs), key=len)
    choices = {kind: choose(kind, _half(_with(pairs, kind), CHOOSING)) for kind in kinds}
    own = [gate for kind, gate in choices.items() if not kind.startswith(REFERENCES)]
    best = max(own, key=lambda gate: _saved(_half(_with(pairs, gate.kind), CHOOSING), gate))
    text = "\n\n".join(
        [
            f"# Where preferences belong: {_counted(pairs)}",
            "## Without a gate and behind the chosen one, on the half kept for reporting",
            _settings_table(_half(pairs, REPORTING), best),
            _told_changes(_half(pairs, REPORTING), best),
            f'## What every kind of gate does, at the default setting, "closed" being {BASE.name}',
            _kinds_table(_half(pairs, REPORTING), choices),
            "## Each preference, without a gate",
            _preferences_table(pairs),
        ]
    )
    (folder / "relevance.md").write_text(f"{text}\n", encoding="utf-8")
    return text


def figures(pairs: Sequence[Pair], setting: Setting, gate: StudiedGate = OPEN) -> GateFigures:
    """What a setting does to pairs behind a gate."""
    neutral = [it for it in pairs if it.is_neutral]
    topics = [it for it in pairs if it.belongs and not PREFERENCES[it.preference].is_style]
    style = [it for it in pairs if PREFERENCES[it.preference].is_style]

    def lost(pair: Pair) -> float:
        return float(not pair.is_right(gate.setting(pair, setting)))

    def followed(pair: Pair) -> float:
        return float(pair.is_followed(gate.setting(pair, setting)))

    return GateFigures(_over(neutral, lost), _over(topics, followed), _over(style, followed))


def choose(kind: str, pairs: Sequence[Pair]) -> StudiedGate:
    """The lowest threshold of a kind that loses nearly as few right answers as the best.

    At the default setting, where "closed" is base. Of those only that lose no preference: as many
    are followed as without a gate. None but the one that is always open may be left.
    """
    scores = sorted({it.scores[kind] for it in pairs} - {math.inf, -math.inf})
    quantiles = np.quantile(scores, np.linspace(0, 1, _THRESHOLDS)) if scores else [0.0]
    gates = [OPEN._replace(kind=kind), *(StudiedGate(kind, float(it)) for it in quantiles)]
    least = _followed(pairs, OPEN)
    keeping = [gate for gate in gates if _followed(pairs, gate) >= least]
    best = min(_lost(pairs, gate) for gate in keeping)
    return next(gate for gate in keeping if _lost(pairs, gate) <= best + NEARLY)


def _followed(pairs: Sequence[Pair], gate: StudiedGate) -> float:
    shares = []
    for is_style in (False, True):
        of_kind = [
            it for it in pairs if it.belongs and PREFERENCES[it.preference].is_style == is_style
        ]
        found = [it.is_followed(gate.setting(it, DEFAULT)) for it in of_kind]
        shares.append(sum(found) / len(found) if found else 0.0)
    return sum(shares) / len(shares)


def _lost(pairs: Sequence[Pair], gate: StudiedGate) -> float:
    neutral = [it for it in pairs if it.is_neutral]
    return sum(not it.is_right(gate.setting(it, DEFAULT)) for it in neutral) / max(1, len(neutral))


def _saved(pairs: Sequence[Pair], gate: StudiedGate) -> float:
    """How many fewer right answers are lost than without a gate, as a share."""
    return _lost(pairs, OPEN) - _lost(pairs, gate)


def area_under_curve(pairs: Sequence[Pair], kind: str) -> float:
    """How often a question that concerns a topic scores above one that does not, ties half."""
    about = [it for it in pairs if not PREFERENCES[it.preference].is_style]
    high = np.array([it.scores[kind] for it in about if it.belongs])[:, None]
    low = np.array([it.scores[kind] for it in about if not it.belongs])[None]
    return float(((high > low) + 0.5 * (high == low)).mean())


def _over(pairs: Sequence[Pair], value: Callable[[Pair], float]) -> Estimate | None:
    by_question: dict[Hashable, list[float]] = {}
    for pair in pairs:
        by_question.setdefault(pair.asked, []).append(value(pair))
    return estimate([by_question])


def _settings_table(pairs: Sequence[Pair], best: StudiedGate) -> str:
    head = ("setting", "gate", "right answers lost", "topics followed", "style followed")
    rows = [("base", "-", *_cells(figures(pairs, BASE)))]
    for setting in SETTINGS:
        gates = {
            "none": OPEN,
            f"{best.kind}, closed: base": best,
            f"{best.kind}, closed: pref": best._replace(closed=PREF),
        }
        rows += [
            (setting.name, name, *_cells(figures(pairs, setting, gate)))
            for name, gate in gates.items()
            if not (setting == PREF and gate.closed == PREF)
        ]
    return _table(head, rows)


def _told_changes(pairs: Sequence[Pair], best: StudiedGate) -> str:
    """What the gate changes at the default setting, paired answer by answer."""
    neutral = [it for it in pairs if it.is_neutral]
    belong = [it for it in pairs if it.belongs]

    def lost(pair: Pair) -> float:
        return float(pair.is_right(DEFAULT)) - pair.is_right(best.setting(pair, DEFAULT))

    def followed(pair: Pair) -> float:
        return float(pair.is_followed(best.setting(pair, DEFAULT))) - pair.is_followed(DEFAULT)

    topics = [it for it in belong if not PREFERENCES[it.preference].is_style]
    return (
        f"At {DEFAULT.name} the gate changes the share of right answers that are lost by "
        f"{_interval(_over(neutral, lost))}, and that of followed topics by "
        f"{_interval(_over(topics, followed))}."
    )


def _kinds_table(pairs: Sequence[Pair], choices: dict[str, StudiedGate]) -> str:
    head = ("gate", "pairs", "AUC", "threshold", "right answers lost", "without it")
    head += ("topics followed", "style followed")
    rows = []
    for kind, gate in choices.items():
        of_kind = _with(pairs, kind)
        lost, topics, style = _cells(figures(of_kind, DEFAULT, gate))
        before, *_ = _cells(figures(of_kind, DEFAULT))
        exempt = kind.endswith("exempt")
        area = "" if exempt else f"{area_under_curve(of_kind, kind):.2f}"
        threshold = "always open" if math.isinf(gate.threshold) else f"{gate.threshold:.3g}"
        rows.append((kind, str(len(of_kind)), area, threshold, lost, before, topics, style))
    return _table(head, rows)


def _preferences_table(pairs: Sequence[Pair]) -> str:
    names = [setting.name for setting in SETTINGS]
    head = ("preference", "half", *(f"lost, {it}" for it in names))
    head += ("followed, base", *(f"followed, {it}" for it in names))
    rows = []
    for name, own in PREFERENCES.items():
        of_one = [it for it in pairs if it.preference == name]
        neutral, belong = ([it for it in of_one if part(it)] for part in (_neutral, _belongs))
        lost = (_share([not it.is_right(setting) for it in neutral]) for setting in SETTINGS)
        followed = (
            _share([it.is_followed(setting) for it in belong]) for setting in (BASE, *SETTINGS)
        )
        rows.append((name, "reporting" if own.half else "choosing", *lost, *followed))
    return _table(head, rows)


def _neutral(pair: Pair) -> bool:
    return pair.is_neutral


def _belongs(pair: Pair) -> bool:
    return pair.belongs


def _share(found: Sequence[bool]) -> str:
    return f"{sum(found)}/{len(found)}"


def _with(pairs: Iterable[Pair], kind: str) -> list[Pair]:
    """The pairs that have a score of a kind."""
    return [it for it in pairs if kind in it.scores]


def _half(pairs: Iterable[Pair], half: int) -> list[Pair]:
    return [it for it in pairs if it.half == half]


def _counted(pairs: Sequence[Pair]) -> str:
    told = []
    for name, half in (("choosing", CHOOSING), ("reporting", REPORTING)):
        of_half = _half(pairs, half)
        neutral = [it for it in of_half if it.is_neutral]
        questions = len({it.asked for it in neutral})
        told.append(
            f"{name} {len(neutral)} pairs of {questions} neutral questions and "
            f"{len(of_half) - len(neutral)} others"
        )
    return "; ".join(told)


def _cells(found: GateFigures) -> tuple[str, ...]:
    return tuple(_interval(it) for it in found)


def _interval(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return "-" if found is None else f"{100 * found.mean:.0f} %"
    return f"{100 * found.mean:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _mean(found: Estimate | None) -> float:
    return 0.0 if found is None else found.mean


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cosines(folder: Path, answers: Iterable[RecordedAnswer]) -> dict[Key, float]:
    """The cosines of questions and preferences by MiniLM, kept in a file."""
    path = folder / "cosines.json"
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    wanted = {answer.asked for answer in answers if answer.preference in PREFERENCES}
    if new := sorted(wanted - known.keys()):
        from cookbook.minilm import MiniLM  # noqa: PLC0415 - loads a model

        model = MiniLM(embed_batch_size=32)
        of_preference = np.array(
            model.get_text_embedding_batch([own.text for own in PREFERENCES.values()])
        )
        for asked, vector in zip(new, model.get_text_embedding_batch(new), strict=True):
            found = (of_preference @ np.array(vector)).round(4).tolist()
            known[asked] = dict(zip(PREFERENCES, found, strict=True))
        path.write_text(json.dumps(known))
    return {(asked, name): it for asked, own in known.items() for name, it in own.items()}
