"""`amulet explain`: an answer, and what its preferences made of each token."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from amulet_integrations.decoding import SamplingParams
from amulet_integrations.decoding.strength import Method
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.engine.result import Increment
from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.personalization.explained_answers import RecentAnswers
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.prompting import ChatMessage

from . import options, terminal
from .chat_commands import YOU
from .conversation import system_messages
from .explanation.explanation_view import print_explanation
from .loading import open_engine, open_store
from .options import method_option, option
from .page_files import check_page
from .profile.group import print_json

EPILOG = options.examples(
    'amulet explain "How do I make tea?" --preference "Be concise." --preset strong',
    'amulet explain "What is rain?" --user ann --page rain.html',
)
_PANEL = "Whose preferences"
_selecting = partial(option, panel=_PANEL)
DEFAULT_PAGE = Path("explanation.html")


def explain(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    *,
    preference: Annotated[
        list[str] | None,
        _selecting("TEXT", "A preference; repeat for more, which act together."),
    ] = None,
    user: Annotated[
        str | None, _selecting("USER", "The profile of this user, in place of --preference.")
    ] = None,
    profiles: options.Profiles = None,
    method: Annotated[
        Method | None, method_option(default="the profile's, else amulet", panel=_PANEL)
    ] = None,
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
    page: Annotated[
        Path, option("FILE", "Where the page is written; an earlier page there is replaced.")
    ] = DEFAULT_PAGE,
    no_page: Annotated[bool, option(None, "Write no page.", "--no-page")] = False,
    model: options.Model = EMBEDDED,
    backend: options.Backend = "auto",
    engine_options: options.EngineOptions = None,
    as_json: options.Json = False,
) -> None:
    """Answer a question, and show what the preferences made of each token.

    Orange tokens are likelier than they would be without preferences, blue ones less likely. The
    page, one HTML file that needs no network, has the distributions behind every token.
    """
    if (user is None) is not (preference is not None):
        raise typer.BadParameter(
            'Say whose preferences to explain in one way: --preference "…" or --user NAME.'
        )
    strength = options.read_strength(guidance_scale, preset, max_kl, iterations, gate)
    if not no_page:
        check_page(page)
    selection = PreferenceSelection(
        user_id=user, profile=_own_profile(preference or ()), method=method, **dict(strength)
    )
    sampling = SamplingParams(
        max_new_tokens=max_tokens,
        temperature=temperature,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    messages = (*system_messages(system), ChatMessage(role="user", content=question))
    with ExitStack() as stack:
        store = None if user is None else stack.enter_context(open_store(profiles))
        personalizer = Personalizer(
            open_engine(model, backend, engine_options), profiles=store, saved_presets=True
        )
        explanation = _explain(personalizer, selection, messages, sampling)
    if user is not None and not explanation.preferences:
        terminal.notice(f"{user} has no preference that acts here, so the answer is a plain one.")
    if as_json:
        print_json(explanation.to_dict())
    else:
        print_explanation(explanation)
    if not no_page:
        terminal.notice(f"The page: {explanation.save_html(page)}")


def _own_profile(texts: Sequence[str]) -> PreferenceProfile | None:
    return PreferenceProfile(user_id=YOU, preferences=tuple(texts)) if texts else None


def _explain(
    personalizer: Personalizer,
    selection: PreferenceSelection,
    messages: tuple[ChatMessage, ...],
    sampling: SamplingParams,
) -> Explanation:
    answers = RecentAnswers()
    call = PreparedCall(
        messages=messages,
        personalization=personalizer.personalize(resolve_user(selection, searchable=True)),
        sampling=sampling,
        keep_explained=answers.keep,
    )
    with terminal.status("Answering …") as show:
        answer, tokens = personalizer.prepare_answer(call), 0

        def read(increment: Increment) -> list[object]:
            nonlocal tokens
            answer.read(increment)
            tokens += len(increment.token_ids)
            show(f"Answering … {terminal.plural(tokens, 'token')}")
            if increment.usage is not None:
                answer.metadata(increment, has_calls=False)  # which keeps the explained answer
            return []

        list(answer.stream(read))
        return answers.find(None).explanation
