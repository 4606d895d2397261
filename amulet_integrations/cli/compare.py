"""`amulet compare`: one question answered under every method, decoded together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.live import Live

from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles import Preference
from amulet_integrations.prompting import ChatMessage

from . import options, terminal
from .columns import AnswerGroup, ComparisonView, print_plain
from .conversation import system_messages
from .loading import open_engine
from .options import option
from .stream_many import StreamedAnswer, stream_many

EPILOG = options.examples(
    'amulet compare "How do I make tea?" --preference "Be concise." --preset strong',
    'amulet compare "What is rain?" --preference "Answer as a poet." --preference "Be brief."',
)
_METHODS_WITH_PREFERENCE: tuple[Method, ...] = ("pref", "linear_alignment", "amulet")
_REFRESHES_PER_SECOND = 8


def compare(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    *,
    preference: Annotated[
        list[str], option("TEXT", "A preference; repeat to compare several, each on its own.")
    ],
    guidance_scale: options.GuidanceScale = None,
    preset: options.Preset = None,
    max_kl: options.MaxKL = None,
    gate: options.Gate = None,
    iterations: options.Iterations = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = 120,
    temperature: options.Temperature = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: options.Seed = None,
    model: options.Model = EMBEDDED,
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
) -> None:
    """Answer a question without a preference and with it, side by side.

    base knows no preference; pref has it in the prompt; linear alignment, as published, and Amulet
    amplify what it changes, by the guidance scale and within the bound shown. All answers are
    decoded together.
    """
    strength = options.read_strength(guidance_scale, preset, max_kl, iterations, gate)
    sampling = SamplingParams(
        max_new_tokens=max_tokens,
        temperature=temperature,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    preferences = [Preference(text=text) for text in preference]
    messages = (*system_messages(system), ChatMessage(role="user", content=question))
    personalizer = Personalizer(
        open_engine(model, backend, engine_options), strength=strength, saved_presets=True
    )

    def prepare(method: Method, followed: Preference | None = None) -> StreamedAnswer:
        selection = PreferenceSelection(preference=followed, method=method)
        if method == "linear_alignment" and max_kl is None:
            selection = selection.model_copy(update={"max_kl": None})  # as published
        personalization = personalizer.personalize(resolve_user(selection, searchable=False))
        ready = personalizer.prepare_answer(
            PreparedCall(messages=messages, personalization=personalization, sampling=sampling)
        )
        label = options.strength_label(personalization.guidance_scale, personalization.max_kl)
        if ready.call.personalization.left_out:
            label = "left out by the gate"
        return StreamedAnswer(method, label, ready.request)

    groups = [
        AnswerGroup(
            followed.text, [prepare(method, followed) for method in _METHODS_WITH_PREFERENCE]
        )
        for followed in preferences
    ]
    # Several preferences share the answer without one; a single preference has it beside its own.
    if len(groups) == 1:
        groups[0].answers.insert(0, prepare("base"))
    else:
        groups.insert(0, AnswerGroup(None, [prepare("base")]))
    _run(personalizer.engine, question, groups)


def _run(engine: Engine, question: str, groups: Sequence[AnswerGroup]) -> None:
    answers = [answer for group in groups for answer in group.answers]
    interactive = terminal.is_interactive()
    view = Live(
        ComparisonView(question, groups),
        console=terminal.console(),
        refresh_per_second=_REFRESHES_PER_SECOND,
    )
    with view if interactive else terminal.status("Answering …"):
        stream_many(engine, answers)
    if not interactive:
        print_plain(question, groups)
    for answer in answers:
        if answer.error is not None:
            raise answer.error
