"""The paper's experiments on any model: answers by every method, and what they are worth."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.evaluation.analysis.comparisons import Comparison, compare_methods
    from amulet_integrations.evaluation.analysis.method_pairs import method_pairs
    from amulet_integrations.evaluation.analysis.result import Evaluation
    from amulet_integrations.evaluation.data.preferences import (
        KNOWN_PREFERENCES,
        PAPER_PREFERENCES,
        read_preferences,
    )
    from amulet_integrations.evaluation.data.questions import read_questions
    from amulet_integrations.evaluation.data.set_ups import SET_UPS, SetUp
    from amulet_integrations.evaluation.judging.judge import WinCount, win_counts
    from amulet_integrations.evaluation.metrics.evaluators import evaluator_scorer
    from amulet_integrations.evaluation.metrics.relevance import RelevanceScorer
    from amulet_integrations.evaluation.metrics.reward_model import RewardModelScorer
    from amulet_integrations.evaluation.metrics.scorer import Scorer
    from amulet_integrations.evaluation.metrics.sentiment import SentimentScorer
    from amulet_integrations.evaluation.metrics.text_scores import TextScorer
    from amulet_integrations.evaluation.reporting import report_tables, write_report
    from amulet_integrations.evaluation.runs.experiment import evaluate
    from amulet_integrations.evaluation.runs.methods import (
        DEFAULT_GRID,
        DEFAULT_METHODS,
        read_methods,
    )
    from amulet_integrations.evaluation.runs.progress import Progress
    from amulet_integrations.evaluation.runs.records import (
        Answer,
        CaseKey,
        Method,
        Outcome,
        Preference,
        Question,
    )
    from amulet_integrations.evaluation.runs.settings import Settings

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
    "evaluate",
    "evaluator_scorer",
    "method_pairs",
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
        ".analysis.comparisons": ("Comparison", "compare_methods"),
        ".analysis.method_pairs": ("method_pairs",),
        ".data.questions": ("read_questions",),
        ".metrics.evaluators": ("evaluator_scorer",),
        ".runs.experiment": ("evaluate",),
        ".judging.judge": ("WinCount", "win_counts"),
        ".runs.methods": ("DEFAULT_GRID", "DEFAULT_METHODS", "read_methods"),
        ".data.preferences": ("KNOWN_PREFERENCES", "PAPER_PREFERENCES", "read_preferences"),
        ".runs.progress": ("Progress",),
        ".runs.records": ("Answer", "CaseKey", "Method", "Outcome", "Preference", "Question"),
        ".metrics.relevance": ("RelevanceScorer",),
        ".analysis.result": ("Evaluation",),
        ".reporting": ("report_tables", "write_report"),
        ".metrics.reward_model": ("RewardModelScorer",),
        ".metrics.scorer": ("Scorer",),
        ".metrics.sentiment": ("SentimentScorer",),
        ".data.set_ups": ("SET_UPS", "SetUp"),
        ".runs.settings": ("Settings",),
        ".metrics.text_scores": ("TextScorer",),
    },
)
