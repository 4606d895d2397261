"""`amulet chat`: questions in, answers out, by the user's preferences."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Annotated

import typer
from rich.text import Text

from amulet_integrations.cli import screen
from amulet_integrations.cli.conversation import Conversation
from amulet_integrations.cli.options import (
    Database,
    MaxTokens,
    Model,
    Seed,
    System,
    Temperature,
    examples,
)
from amulet_integrations.cli.profile import count, open_store
from amulet_integrations.cli.session import open_engine
from amulet_integrations.decoding import AmuletParams, SamplingParams, check_guidance_scale
from amulet_integrations.engine.model_source import EMBEDDED
from amulet_integrations.errors import AmuletError
from amulet_integrations.personalizer import Method, Personalizer, Whose
from amulet_integrations.profiles import PreferenceProfile

EPILOG = examples(
    "amulet chat --user ann",
    'amulet chat --prefer "Explain as to a child." --iterations 2',
    'echo "Why is the sky blue?" | amulet chat --user ann',
)
_PREFERENCES = "Whose preferences, and how strongly"
_COMMAND = re.compile(r"/[a-z]+(?=\s|$)")
_HELP = "/prefer TEXT follows one more preference, /reset forgets the conversation, /quit leaves."
