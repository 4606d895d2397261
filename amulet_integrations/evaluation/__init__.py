"""The paper's experiments on any model: answers by every method, and measures of their quality."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.evaluation.analysis.comparisons import (
        Comparison,
        compare_methods,
        method_pairs,
    )
    from amulet_integrations.evaluation.data.methods import (
        DEFAULT_GRID,
        DEFAULT_METHODS,
        read_methods,
    )
    from amulet_integrations.evaluation.data.named_preferences import (
        KNOWN_PREFERENCES,
        PAPER_PREFERENCES,
        read_preferences,
    )
    from amulet_integrations.evaluation.data.questions import read_questions
    from amulet_integrations.evaluation.data.record_types import (
        Answer,
        AnswerKey,
        Method,
        Outcome,
        Preference,
        Progress,
        Question,
    )
    from amulet_integrations.evaluation.data.set_ups import SET_UPS, SetUp
    from amulet_integrations.evaluation.judging.win_counts import WinCount, win_counts
    from amulet_integrations.evaluation.metrics.evaluators import evaluator_scorer
    from amulet_integrations.evaluation.metrics.relevance import RelevanceScorer
    from amulet_integrations.evaluation.metrics.reward_model import RewardModelScorer
    from amulet_integrations.evaluation.metrics.scorer import Scorer
    from amulet_integrations.evaluation.metrics.text_scores import SentimentScorer, TextScorer
    from amulet_integrations.evaluation.reporting import report_tables, write_report
    from amulet_integrations.evaluation.runs.evaluation_result import Evaluation
    from amulet_integrations.evaluation.runs.experiment import evaluate
    from amulet_integrations.evaluation.runs.run_settings import Settings

__all__ = [
    "DEFAULT_GRID",
    "DEFAULT_METHODS",
    "KNOWN_PREFERENCES",
    "PAPER_PREFERENCES",
    "SET_UPS",
    "Answer",
    "AnswerKey",
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
        ".analysis.comparisons": ("Comparison", "compare_methods", "method_pairs"),
        ".data.methods": ("DEFAULT_GRID", "DEFAULT_METHODS", "read_methods"),
        ".data.named_preferences": ("KNOWN_PREFERENCES", "PAPER_PREFERENCES", "read_preferences"),
        ".data.questions": ("read_questions",),
        ".data.record_types": (
            "Answer",
            "AnswerKey",
            "Method",
            "Outcome",
            "Preference",
            "Progress",
            "Question",
        ),
        ".data.set_ups": ("SET_UPS", "SetUp"),
        ".judging.win_counts": ("WinCount", "win_counts"),
        ".metrics.evaluators": ("evaluator_scorer",),
        ".metrics.relevance": ("RelevanceScorer",),
        ".metrics.reward_model": ("RewardModelScorer",),
        ".metrics.scorer": ("Scorer",),
        ".metrics.text_scores": ("SentimentScorer", "TextScorer"),
        ".reporting": ("report_tables", "write_report"),
        ".runs.evaluation_result": ("Evaluation",),
        ".runs.experiment": ("evaluate",),
        ".runs.run_settings": ("Settings",),
    },
)
