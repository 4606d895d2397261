"""Pages of a handbook as an index with real embeddings, and its readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llama_index.core
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import Document

from amulet_integrations import AmuletParams, InMemoryProfileStore, PreferenceProfile
from amulet_integrations.engine import GenerationRequest, GenerationResult, LocalEngine
from amulet_integrations.engine.protocol import AsyncIncrementStream, IncrementStream
from amulet_integrations.llama_index import AmuletLLM
from cookbook.minilm import MiniLM

# Prose of the documentation as it once was: what a small model says changes with every word.
HANDBOOK = Path(__file__).parent / "handbook"
# Two that a question is about, and two that it is not: each page takes seconds to embed.
PAGES = ("concepts", "databases", "engine", "users")
CHUNK_TOKENS = 64
QUESTION = "What happens when a stream is closed?"
TASTES = {"ann": "Answer like a pirate.", "bob": "Answer in Spanish."}
MILD = AmuletParams(iterations=2)
# LlamaIndex's own prompts are twice as long as what they hold here.
SHORT = PromptTemplate("{context_str}\n\n{query_str}")


def documents() -> list[Document]:
    """The pages of the handbook."""
    return [Document(text=(HANDBOOK / f"{page}.md").read_text("utf-8"), id_=page) for page in PAGES]


@cache
def library(engine: LocalEngine) -> VectorStoreIndex:
    """The index over the pages in small chunks; made once, for it takes seconds."""
    tokenizer = AmuletLLM(engine=engine).tokenizer
    splitter = SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0, tokenizer=tokenizer)
    nodes = splitter.get_nodes_from_documents(documents())
    return VectorStoreIndex(nodes, embed_model=MiniLM())


def store_of(tastes: dict[str, str]) -> InMemoryProfileStore:
    """One user for each taste."""
    return InMemoryProfileStore(
        [PreferenceProfile(user_id=name, preferences=[text]) for name, text in tastes.items()]
    )


@contextmanager
def settings_of(llm: AmuletLLM) -> Iterator[None]:
    """LlamaIndex's global settings for this model; what they were before comes back."""
    before, tokenizer = dict(vars(Settings)), llama_index.core.global_tokenizer
    Settings.llm = llm
    Settings.tokenizer = llm.tokenizer
    Settings.prompt_helper = llm.prompt_helper()
    try:
        yield
    finally:
        vars(Settings).update(before)
        llama_index.core.global_tokenizer = tokenizer


class Overheard:
    """An engine, and every request that it is given.

    Args:
        engine: The engine that answers.
        **told: What the engine tells of itself, where it shall be something else.
    """

    def __init__(self, engine: LocalEngine, **told: Any) -> None:
        self.engine = engine
        self.requests: list[GenerationRequest] = []
        vars(self).update(told)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def stream(self, request: GenerationRequest) -> IncrementStream:
        self.requests.append(request)
        return self.engine.stream(request)

    def astream(self, request: GenerationRequest) -> AsyncIncrementStream:
        self.requests.append(request)
        return self.engine.astream(request)

    @property
    def has_work(self) -> bool:
        """Whether a request runs or waits."""
        return not self.engine.stats.is_idle

    def texts(self) -> list[str]:
        """The contexts of every request, as text."""
        return [
            "\n".join(map(self.tokenizer.decode, request.contexts)) for request in self.requests
        ]

    def tasted(self, tastes: dict[str, str]) -> list[list[str]]:
        """Whose tastes stand in the contexts of each request."""
        return [[name for name, taste in tastes.items() if taste in text] for text in self.texts()]

    def alone(self, request: GenerationRequest) -> GenerationResult:
        """What the engine answers to a request when it has no other."""
        return self.engine.generate([request])[0]

    def without_preferences(self, request: GenerationRequest) -> str:
        """What it answers to the first context, in which no preference stands."""
        plain = GenerationRequest(contexts=request.contexts[:1], sampling=request.sampling)
        return self.alone(plain).text
