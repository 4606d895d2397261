"""The paper's experiments on any model: answers by every method, and what they are worth."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.evaluation.comparisons import Comparison, compare_methods
    from amulet_integrations.evaluation.contests import contests
    from amulet_integrations.evaluation.data import read_questions
    from amulet_integrations.evaluation.evaluators import evaluator_scorer
    from amulet_integrations.evaluation.experiment import evaluate
    from amulet_integrations.evaluation.judging import WinCount, win_counts
    from amulet_integrations.evaluation.methods import (
        DEFAULT_GRID,
        DEFAULT_METHODS,
        read_methods,
    )
    from amulet_integrations.evaluation.preferences import (
        KNOWN_PREFERENCES,
        PAPER_PREFERENCES,
        read_preferences,
    )
    from amulet_integrations.evaluation.progress import Progress
    from amulet_integrations.evaluation.records import (
        Answer,
        CaseKey,
        Method,
        Outcome,
        Preference,
        Question,
    )
    from amulet_integrations.evaluation.relevance import RelevanceScorer
    from amulet_integrations.evaluation.reporting import report_tables, write_report
    from amulet_integrations.evaluation.result import Evaluation
    from amulet_integrations.evaluation.reward_model import RewardModelScorer
    from amulet_integrations.evaluation.scorer import Scorer
    from amulet_integrations.evaluation.sentiment import SentimentScorer
    from amulet_integrations.evaluation.set_ups import SET_UPS, SetUp
    from amulet_integrations.evaluation.settings import Settings
    from amulet_integrations.evaluation.text_scores import TextScorer

__all__ = [
    "DEFAULT_GRID",
    "DEFAULT_METHODS",
    "KNOWN_PREFERENCES",
    "PAPER_PREFERENCES",
    "SET_UPS",
    "Answer",
    "CaseKey",
    "Comparison",
    "Evaluation",
    "Method",
    "Outcome",
    "Preference",
    "Progress",
    "Question",
    "RelevanceScorer",
    "RewardModelScorer",
    "Scorer",
    "SentimentScorer",
    "SetUp",
    "Settings",
    "TextScorer",
    "WinCount",
    "compare_methods",
    "contests",
    "evaluate",
    "evaluator_scorer",
    "read_methods",
    "read_preferences",
    "read_questions",
    "report_tables",
    "win_counts",
    "write_report",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".comparisons": ("Comparison", "compare_methods"),
        ".contests": ("contests",),
        ".data": ("read_questions",),
        ".evaluators": ("evaluator_scorer",),
        ".experiment": ("evaluate",),
        ".judging": ("WinCount", "win_counts"),
        ".methods": ("DEFAULT_GRID", "DEFAULT_METHODS", "read_methods"),
        ".preferences": ("KNOWN_PREFERENCES", "PAPER_PREFERENCES", "read_preferences"),
        ".progress": ("Progress",),
        ".records": ("Answer", "CaseKey", "Method", "Outcome", "Preference", "Question"),
        ".relevance": ("RelevanceScorer",),
        ".result": ("Evaluation",),
        ".reporting": ("report_tables", "write_report"),
        ".reward_model": ("RewardModelScorer",),
        ".scorer": ("Scorer",),
        ".sentiment": ("SentimentScorer",),
        ".set_ups": ("SET_UPS", "SetUp"),
        ".settings": ("Settings",),
        ".text_scores": ("TextScorer",),
    },
)
