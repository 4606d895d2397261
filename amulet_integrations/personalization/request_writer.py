"""Writes the request of a call: its contexts, their weights, and what reads the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from amulet_integrations.decoding.guidance import ContextWeights
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.errors import InvalidRequestError
from amulet_integrations.profiles import ProfileLimits
from amulet_integrations.profiles.active import group_preferences
from amulet_integrations.prompting import PromptBuilder
from amulet_integrations.prompting.messages import check_answerable
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK, Reasoning

from .applied_preferences import Personalization
from .gating import QuestionGate
from .guidance_plan import plan_alternatives
from .prepared_call import PreparedAnswer, PreparedCall

_EXPLAINED_ALTERNATIVES = 5  # tokens that each policy of an explanation names


@dataclass(frozen=True)
class RequestWriter:
    """Writes requests for an engine.

    Attributes:
        engine: The engine.
        prompts: How its prompts are written.
        limits: What one user may cost.
        gate: Finds which preferences have to do with a question, where a call has a gate.
    """

    engine: Engine
    prompts: PromptBuilder
    limits: ProfileLimits
    gate: QuestionGate

    def prepare_answer(self, prepared: PreparedCall) -> PreparedAnswer:
        """As `Personalizer.prepare_answer`."""
        prepared.deadline.check("while its prompt was written")
        explain = self._alternatives_to_explain(prepared)
        prepared = self._gated(prepared)
        personalization, output = prepared.personalization, prepared.output
        self._check_tokens(personalization)
        texts, own_weights = group_preferences(personalization.preferences)
        weights = ContextWeights.at_scale(personalization.guidance_scale, own_weights)
        bounded = personalization.max_kl is not None and weights.has_preferences
        contexts, reasoning = self._render(prepared, texts)
        alternatives: tuple[OutputAlternative, ...] = ()
        if output.tool_use or output.json_output:
            alternatives = plan_alternatives(weights, self.prompts.tool_format, output)
        stop = prepared.sampling.stop
        if not isinstance(prepared.messages, str):
            stop += self.prompts.stop
        request = GenerationRequest(
            contexts=contexts,
            # They are in force while the model reasons and while the form is undecided.
            weights=(alternatives and alternatives[0].weights) or weights.guided,
            alternatives=alternatives,
            thoughts_begin=THINK if alternatives and reasoning == "may open" else None,
            thoughts_end=END_OF_THOUGHTS if alternatives and reasoning != "none" else None,
            max_kl=personalization.max_kl if bounded else None,
            reference_weights=weights.pref if bounded or explain is not None else None,
            sampling=prepared.sampling.model_copy(update={"stop": stop}),
            end_ids=self.prompts.end_ids,
            timeout=prepared.deadline.timeout,
            deadline=prepared.deadline,
            user_id=personalization.user_id,
            cache_salt=prepared.cache_salt,
            logprobs=prepared.output.logprobs,
            explain=explain,
            skip_special_tokens=self.prompts.skip_special_tokens(
                calls=output.tool_use is not None, reasoning=reasoning
            ),
        )
        parser = self.prompts.parser(
            output.tool_use if output.tool_use and output.tool_use.callable_tools else None,
            reasoning,
            calls_open_answer=output.json_output is not None,
        )
        return PreparedAnswer(
            prepared,
            self.engine,
            request,
            parser,
            partial(self._contexts_of_single_preferences, prepared),
        )

    def _gated(self, prepared: PreparedCall) -> PreparedCall:
        """The call without the preferences that its gate leaves out."""
        applied, question = prepared.personalization, prepared.last_question
        if applied.gate is None or not applied.preferences:
            return prepared
        self._check_tokens(applied)
        self._render(prepared, ())  # what cannot be a prompt is refused before a model runs
        scores = self.gate.scores(question, applied.preferences, prepared.deadline)
        return replace(prepared, personalization=applied.gated(scores))

    def _check_tokens(self, applied: Personalization) -> None:
        tokens = sum(self.prompts.count_text(it.text) for it in applied.preferences)
        self.limits.check_tokens(applied.user_id, tokens)

    def _contexts_of_single_preferences(
        self, prepared: PreparedCall, preferences: Sequence[str]
    ) -> list[list[int]]:
        return self._render(prepared, preferences)[0]

    def _alternatives_to_explain(self, prepared: PreparedCall) -> int | None:
        if prepared.keep_explained is None:
            return None
        if not getattr(self.engine, "supports_explain", False):
            raise InvalidRequestError(
                f"explain=True: {type(self.engine).__name__} cannot explain its answers, for it "
                "does not report what each context made of a token. Use a LocalEngine, or leave "
                "explain out."
            )
        return _EXPLAINED_ALTERNATIVES

    def _render(
        self, prepared: PreparedCall, texts: Sequence[str]
    ) -> tuple[list[list[int]], Reasoning]:
        """The contexts of a call, without a preference and with each of `texts`, and its reasoning.

        Every context is rendered once.
        """
        if isinstance(prepared.messages, str):
            return self.prompts.formatted_contexts(prepared.messages, [None, *texts]), "none"
        tool_use = prepared.output.tool_use
        prompt = self.prompts.prepare(
            prepared.messages,
            tools=tool_use.tools if tool_use else (),
            json_output=prepared.output.json_output,
            chat_template_kwargs=prepared.chat_template_kwargs,
        )
        check_answerable(prepared.messages)
        return prompt.contexts([None, *texts]), prompt.reasoning
