"""Runs the study, answer by answer; answers that exist are not generated again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import GenerationResult
from amulet_integrations.engine.streams import GenerationStream
from amulet_integrations.evaluation.data.set_ups import SET_UPS
from amulet_integrations.evaluation.runs.journal import Journal
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from benchmarks.defaults.questions import Question
from benchmarks.defaults.recording import SharedPolicy, Trace
from benchmarks.defaults.settings import BASE, Setting

QUESTION_TOKENS = 64
FACT_TOKENS = 40
_LINE = 64  # requests that are open at once; enough that the engine's rows are always full
_REPORT_EVERY = 20.0  # seconds


def most_tokens(question: Question) -> int:
    """How long answers get in this study."""
    return FACT_TOKENS if question.set_ == "facts" else QUESTION_TOKENS


class RecordedAnswer(BaseModel):
    """An answer of the model and how likely it is: a line of the file.

    Attributes:
        set_up: Whose prompt it was, as in `evaluation.set_ups`.
        setting: The setting's name.
        set_: The question's data set, or "facts".
        asked: The question's key.
        preference: The preference's name.
        text: The answer.
        ended: Whether the model ended it.
        base: log P of each token in the base context, the one that ends the text left out.
        pref: The same in the pref context.
        end_base: log P of the end of the text in the base context, at every place.
        end_pref: The same in the pref context.
        held: The share of places at which the bound held guidance back.
        moved: The divergence of the pref context's policy from the base context's at each token.
    """

    model_config = ConfigDict(frozen=True)

    set_up: str
    setting: str
    set_: str
    asked: str
    preference: str
    text: str
    ended: bool
    base: list[float]
    pref: list[float]
    end_base: list[float]
    end_pref: list[float]
    held: float
    moved: list[float] = []

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it unlike any other."""
        return self.set_up, self.setting, self.asked, self.preference


class Job(NamedTuple):
    """What several settings answer to one question.

    Attributes:
        set_up: Whose prompt.
        settings: How it is answered.
        question: The question.
        preferences: Their texts by name: one, but the base policy's answer is the same for all.
            None is no preference.
    """

    set_up: str
    settings: tuple[Setting, ...]
    question: Question
    preferences: Mapping[str, str | None]

    def keys(self, setting: Setting) -> list[tuple[str, str, str, str]]:
        """The keys of a setting's answers."""
        return [(self.set_up, setting.name, self.question.key, name) for name in self.preferences]


def jobs(
    settings: Iterable[Setting],
    questions: Iterable[Question],
    preferences: Mapping[str, str],
    set_up: str = "default",
) -> Iterator[Job]:
    """What a study asks, question by question, so that any part of it is a fair sample."""
    guided = tuple(setting for setting in settings if setting != BASE)
    for question in questions:
        if BASE in settings:
            yield Job(set_up, (BASE,), question, preferences)
        for name, text in preferences.items():
            yield Job(set_up, guided, question, {name: text})


def missing(wanted: Iterable[Job], journal: Journal[RecordedAnswer]) -> list[Job]:
    """The same without the settings whose answers are there."""
    there = {answer.key for answer in journal.lines}
    left = [
        job._replace(
            settings=tuple(each for each in job.settings if not there.issuperset(job.keys(each)))
        )
        for job in wanted
    ]
    return [job for job in left if job.settings]


class _RunningJob:
    """A job under way."""

    def __init__(self, job: Job, contexts: Sequence[Sequence[int]], end_id: int, most: int) -> None:
        self.job = job
        self.contexts = contexts
        self.traces = [Trace(setting, end_id, most) for setting in job.settings]
        self.parties = 1


class Study:
    """Runs requests on an engine and keeps what comes back.

    Args:
        engine: It must make no drafts, for policies are called once for every token.
        journal: Where answers are kept.
        log: Takes lines of progress.
        most_tokens: Most tokens of an answer to a question.
    """

    def __init__(
        self,
        engine: LocalEngine,
        journal: Journal[RecordedAnswer],
        log: Callable[[str], object] = print,
        most_tokens: Callable[[Question], int] = most_tokens,
    ) -> None:
        self._most_tokens = most_tokens
        self._engine = engine
        self._journal = journal
        self._log = log
        self._prompts: dict[str, PromptBuilder] = {}
        self._line: deque[tuple[_RunningJob, SharedPolicy, GenerationStream]] = deque()

    @property
    def answers(self) -> Sequence[RecordedAnswer]:
        """Those that are there."""
        return self._journal.lines

    def run(self, wanted: Iterable[Job], name: str) -> None:
        """Runs what is missing; answers are on the disk as soon as a question has them all."""
        todo = missing(wanted, self._journal)
        total = sum(len(job.settings) for job in todo)
        self._log(f"{name}: {len(todo)} prompts, {total} requests")
        started, reported = time.monotonic(), 0.0
        done = tokens = 0
        for one in self._answered(todo):
            there = {answer.key for answer in self._journal.lines}
            answers = [
                answer
                for trace in one.traces
                for answer in self._answers(one.job, trace)
                if answer.key not in there
            ]
            self._journal.add(*answers)
            self._journal.lines += answers
            tokens += sum(len(trace.tokens) for trace in one.traces)
            done += len(one.traces)
            seconds = time.monotonic() - started
            if seconds - reported > _REPORT_EVERY or done == total:
                reported = seconds
                self._log(
                    f"{time.strftime('%H:%M:%S')} {name}: {done}/{total}, "
                    f"{tokens / seconds:.0f} tokens/s, "
                    f"{seconds / done * (total - done) / 60:.1f} minutes left"
                )

    def _answered(self, todo: Iterable[Job]) -> Iterator[_RunningJob]:
        """The jobs, each as soon as all of its settings have answered; many are under way."""
        waiting = iter(todo)
        while True:
            while len(self._line) < _LINE and (job := next(waiting, None)) is not None:
                most = self._most_tokens(job.question)
                one = _RunningJob(job, self._contexts(job), self._end_id, most)
                self._go_on(one, one.traces)
            if not self._line:
                return
            one, policy, stream = self._line.popleft()
            GenerationResult.fold(stream)
            one.parties -= 1
            for party in policy.parted:
                if party[0].left:
                    one.parties += 1
                    self._go_on(one, party)
            if not one.parties:
                yield one

    def _go_on(self, one: _RunningJob, traces: Sequence[Trace]) -> None:
        policy = SharedPolicy(traces)
        request = GenerationRequest(
            contexts=[[*context, *traces[0].tokens] for context in one.contexts],
            policy=policy,
            sampling=SamplingParams(max_new_tokens=traces[0].left),
        )
        self._line.append((one, policy, self._engine.stream(request)))

    @property
    def _end_id(self) -> int:
        end_id = self._engine.tokenizer.eos_token_id
        assert isinstance(end_id, int)  # noqa: S101
        return end_id

    def _contexts(self, job: Job) -> list[list[int]]:
        if job.set_up not in self._prompts:
            self._prompts[job.set_up] = SET_UPS[job.set_up].prompts(self._engine.tokenizer)
        return self._prompts[job.set_up].contexts(
            [ChatMessage(role="user", content=job.question.text)],
            [None, *job.preferences.values()],
        )

    def _answers(self, job: Job, trace: Trace) -> Iterator[RecordedAnswer]:
        text = slice(len(trace.tokens) - trace.ended)
        for context, name in enumerate(job.preferences, 1):
            yield RecordedAnswer(
                set_up=job.set_up,
                setting=trace.setting.name,
                set_=job.question.set_,
                asked=job.question.key,
                preference=name,
                text=self._engine.tokenizer.decode(trace.tokens, skip_special_tokens=True),
                ended=trace.ended,
                base=_column(trace.of_token[text], 0),
                pref=_column(trace.of_token[text], context),
                end_base=_column(trace.of_end, 0),
                end_pref=_column(trace.of_end, context),
                held=round(sum(part < 1.0 for part in trace.fractions) / len(trace.fractions), 4),
                moved=[round(moved, 4) for moved in trace.moved],
            )


def _column(rows: Sequence[Sequence[float]], column: int) -> list[float]:
    return [round(row[column], 4) for row in rows]
