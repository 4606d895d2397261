"""Whether a memory says what its user wants, or states a fact about the user."""

from __future__ import annotations

import re

from .foreign_memory import ForeignMemory

NO_PREFERENCE = "it does not say what the user wants"

_KIND = re.compile(r"preference|style|tone|instruction", re.IGNORECASE)

_WANTS = re.compile(
    r"""
    \b(?:
        prefer(?:s|red|ence|ences|ring)? | favou?rites? | favou?rs?
      | (?<!\blooks\ )(?<!\blook\ )(?<!\bfeels\ )(?<!\bseems\ )(?:dis)?likes?
      | loves? | enjoys? | hates? | adores? | detests? | loathes?
      | (?:can't|cannot|can\ not)\ stand
      | wants? | wish(?:es)?\ (?:for|to) | would\ (?:rather|like|love)
      | (?:asks?|asked|insists?|insisted)\ (?:for|that|to|on|not)
      | (?:does|do)(?:n't|\ not)\ (?:want|like|care\ for|enjoy)
      | should\ (?:be|not|never|always|answer|use)
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

# An instruction, at the beginning of a sentence.
_INSTRUCTION = re.compile(
    r"""
    (?:^|[.!?;:]\s+)
    (?:please\s+|always\s+|never\s+|(?:do\s+not|don't)\s+)*
    (?:
        (?:please|always|never|do\s+not|don't|no|only|not)\b
      | (?:address|answer|ask|assume|avoid|be|begin|call|cite|end|explain|focus|format|give
          |include|keep|leave|limit|make|omit|prioriti[sz]e|recommend|refer|remember\s+to|reply
          |respond|show|skip|sound|speak|start|stick|stop|suggest|summari[sz]e|talk|tell
          |translate|treat|use|write
        )\b(?!\s+(?:is|was|are|were|:)\b)
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def states_preference(memory: ForeignMemory) -> bool:
    """Whether a memory is called a preference, says what somebody wants or likes, or instructs.

    This reads English. It looks at what the memory is called (`kinds`), then for words such as
    "prefers", "likes" and "wants", and for instructions such as "Answer …" and "Never …". "Lives in
    Berlin." is none of them.
    """
    return (
        any(_KIND.search(it) for it in memory.kinds)
        or _WANTS.search(memory.text) is not None
        or _INSTRUCTION.search(memory.text.strip()) is not None
    )


def every_memory(memory: ForeignMemory) -> bool:  # noqa: ARG001 - as `Choose` wants it
    """Takes every memory for a preference."""
    return True
