"""`amulet chat`, with questions piped in and on a terminal."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from amulet_integrations import AmuletParams, PreferenceProfile, SqlProfileStore
from amulet_integrations.cli.repetition import repeats_itself
from amulet_integrations.decoding import amulet_weights
from amulet_integrations.decoding.strength import PRESETS
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.engine.result import Increment
from amulet_integrations.personalization import (
    personalizer,
    preference_embeddings,
    preference_style,
)
from tests.unit.cli.conftest import Amulet
from tests.unit.cli.oracle import BOUND, DEFAULT, SCALE, answer
from tests.unit.cli.terminal import Terminal

SHORT = ("--max-tokens", "12", "--repetition-penalty", "1")
FIRST = "How do I make tea?"
SECOND = "What is the sea?"
PREFERENCE = "Be brief."
WEAK = amulet_weights(AmuletParams(iterations=2))


class Watched:
    """An engine that calls `before` with the number of each request; Ctrl-C may strike in one."""

    def __init__(self, engine: LocalEngine, before=lambda place: None, interrupted: int = -1):
        self._engine = engine
        self._before = before
        self._interrupted = interrupted
        self.requests: list[GenerationRequest] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def stream(self, request: GenerationRequest):
        place = len(self.requests)
        self._before(place)
        self.requests.append(request)
        for step, increment in enumerate(self._engine.stream(request)):
            if place == self._interrupted and step == 6:
                raise KeyboardInterrupt
            yield increment

    def prompt(self, place: int) -> str:
        return self._engine.tokenizer.decode(self.requests[place].contexts[0])


def shown(text: str) -> str:
    """What the plain output makes of control characters that the tiny model writes."""
    return "".join(
        chr(0x2400 + ord(character)) if character < " " and character not in "\n\t" else character
        for character in text.replace("\r", "")
    ).replace("\x7f", "␡")


def test_piped_questions_make_one_conversation(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    result = amulet("chat", *SHORT, stdin=f"{FIRST}\n\n  {SECOND}  \n")

    first = answer(tiny_engine, [FIRST])
    second = answer(tiny_engine, [FIRST, first, SECOND])
    assert second != answer(tiny_engine, [SECOND])
    assert result.stdout == f"{shown(first)}\n{shown(second)}\n"
    assert result.stderr == ""
    assert result.exit_code == 0


def test_preferences_are_followed(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    given = ("--preference", PREFERENCE, "--preference", "Use lists.", "--iterations", "2")
    result = amulet("chat", *given, *SHORT, stdin=FIRST)

    both = f"{PREFERENCE}\nUse lists."
    assert result.stdout == shown(answer(tiny_engine, [FIRST], both, WEAK)) + "\n"
    assert answer(tiny_engine, [FIRST], both, WEAK) != answer(tiny_engine, [FIRST])


def test_method_is_followed(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    result = amulet("chat", "--preference", PREFERENCE, "--method", "pref", *SHORT, stdin=FIRST)

    assert result.stdout == shown(answer(tiny_engine, [FIRST], PREFERENCE, (0.0, 1.0))) + "\n"


def test_system_and_sampling_reach_the_request(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Watched(tiny_engine)
    options = ("--temperature", "0.5", "--seed", "7", "--max-tokens", "3")
    amulet("chat", "--system", "Talk as Bo.", *options, stdin=FIRST, engine=engine)

    assert "Talk as Bo." in engine.prompt(0)
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.seed, sampling.max_new_tokens) == (0.5, 7, 3)


def test_the_profile_is_read_anew_at_every_turn(
    amulet: Amulet, tiny_engine: LocalEngine, db: str
) -> None:
    def change(place: int) -> None:
        changed = PreferenceProfile(user_id="ann", preferences=("Use lists.",))
        if place == 0:
            store.save(changed)

    with SqlProfileStore(db) as store:
        weak = AmuletParams(iterations=2)
        store.save(PreferenceProfile(user_id="ann", preferences=(PREFERENCE,), params=weak))
        engine = Watched(tiny_engine, before=change)
        two = f"{FIRST}\n/reset\n{FIRST}"
        result = amulet("chat", "--user", "ann", "--profiles", db, *SHORT, stdin=two, engine=engine)

    before = answer(tiny_engine, [FIRST], PREFERENCE, WEAK)
    after = answer(tiny_engine, [FIRST], "Use lists.", DEFAULT)
    assert result.stdout == f"{shown(before)}\n{shown(after)}\n"


def test_iterations_go_before_the_profile(
    amulet: Amulet, tiny_engine: LocalEngine, db: str
) -> None:
    with SqlProfileStore(db) as store:
        strong = AmuletParams(iterations=10)
        store.save(PreferenceProfile(user_id="ann", preferences=(PREFERENCE,), params=strong))
    engine = Watched(tiny_engine)
    selection = ("--user", "ann", "--profiles", db, "--iterations", "2")
    amulet("chat", *selection, *SHORT, stdin=FIRST, engine=engine)

    assert engine.requests[0].weights == pytest.approx(WEAK)


def test_a_user_without_profile_is_notified(
    amulet: Amulet, tiny_engine: LocalEngine, db: str
) -> None:
    result = amulet("chat", "--user", "bo", "--profiles", db, *SHORT, stdin=FIRST)

    assert result.stdout == shown(answer(tiny_engine, [FIRST])) + "\n"
    assert "bo has no profile yet" in result.stderr
    assert result.exit_code == 0


def test_commands(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Watched(tiny_engine)
    lines = [FIRST, "/reset", f"/prefer {PREFERENCE}", SECOND, "/etc/hosts is what?", "/quit", "no"]
    result = amulet("chat", "--iterations", "2", *SHORT, stdin="\n".join(lines), engine=engine)

    assert len(engine.requests) == 3
    assert FIRST not in engine.prompt(1)
    assert engine.requests[1].weights == pytest.approx(WEAK)
    assert SECOND in engine.prompt(2)
    assert "/etc/hosts" in engine.prompt(2)
    assert result.exit_code == 0


@pytest.mark.parametrize("line", ["/nonsense", "/preference", "/preference a\x1bb"])
def test_a_wrong_command_is_told_and_the_chat_goes_on(
    amulet: Amulet, tiny_engine: LocalEngine, line: str
) -> None:
    result = amulet("chat", *SHORT, stdin=f"{line}\n{FIRST}")

    assert result.stdout == shown(answer(tiny_engine, [FIRST])) + "\n"
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.exit_code == 1


def test_a_stored_profile_is_not_changed_from_the_chat(amulet: Amulet, db: str) -> None:
    result = amulet("chat", "--user", "ann", "--profiles", db, *SHORT, stdin="/prefer Be brief.")

    assert "amulet profile add ann" in result.stderr.splitlines()[-1]
    assert result.exit_code == 1


def test_a_question_that_fails_is_not_remembered(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    result = amulet("chat", *SHORT, stdin=f"{'zq' * 900}\n{FIRST}")

    assert result.stdout == shown(answer(tiny_engine, [FIRST])) + "\n"
    assert "context window" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.exit_code == 1


def test_ctrl_c_ends_a_piped_chat_with_one_line(amulet: Amulet, tiny_engine: LocalEngine) -> None:
    engine = Watched(tiny_engine, interrupted=0)
    result = amulet("chat", *SHORT, stdin=f"{FIRST}\n{SECOND}", engine=engine)

    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"
    assert len(engine.requests) == 1


def test_on_a_terminal_ctrl_c_ends_the_answer_only(
    terminal: Terminal, tiny_engine: LocalEngine
) -> None:
    engine = Watched(tiny_engine, interrupted=0)
    with terminal(100) as screen:
        typed = f"{FIRST}\n{SECOND}\n\x04"
        code = screen.run(engine, "chat", "--preference", PREFERENCE, *SHORT, typed=typed)

    assert code == 0
    strength = f"guidance scale {SCALE:g}, KL ≤ {BOUND:g}"
    assert "embedded; /help lists the commands." in screen.text
    assert f"you · 1 preference · Amulet, {strength}" in screen.text
    # What the user saw of the first answer is part of the conversation.
    seen = answer(tiny_engine, [FIRST], PREFERENCE, DEFAULT, max_tokens=6)
    assert f"{FIRST}<|im_end|>" in engine.prompt(1)
    assert f"assistant\n{seen.rstrip('�')}" in engine.prompt(1)
    assert SECOND in engine.prompt(1)


def test_on_a_terminal_nobody_means_plain_answers(
    terminal: Terminal, tiny_engine: LocalEngine
) -> None:
    with terminal(100) as screen:
        code = screen.run(tiny_engine, "chat", *SHORT, typed=f"{FIRST}\n/quit\n")

    assert code == 0
    assert "you · 0 preferences · plain answers, guidance scale 0" in screen.text
    assert shown(answer(tiny_engine, [FIRST])) in screen.text
    assert "cut off: --max-tokens allows more" in screen.text


def test_a_repetition_penalty_holds_unless_it_is_taken_away(
    amulet: Amulet, tiny_engine: LocalEngine
) -> None:
    engine = Watched(tiny_engine)
    amulet("chat", "--max-tokens", "3", stdin=FIRST, engine=engine)
    amulet("chat", *SHORT, stdin=FIRST, engine=engine)

    default, taken = (request.sampling.repetition_penalty for request in engine.requests)
    assert default > 1.0 == taken


STRENGTHS = {
    "/guidance-scale 3": (3.0, BOUND),
    "/strength 2.5": (2.5, BOUND),
    "/strength strong": PRESETS["strong"],
    "/preset gentle": PRESETS["gentle"],
    "/iterations 2": (AmuletParams(iterations=2).guidance_scale, BOUND),
    "/max-kl 0.7": (SCALE, 0.7),
    "/max-kl none": (SCALE, None),
    "/method pref": (1.0, None),
    "/strength 3\n/method pref": (1.0, None),
    "/strength 3\n/strength none": (SCALE, BOUND),
}


@pytest.mark.parametrize("command", STRENGTHS)
def test_the_strength_changes_during_the_chat(
    amulet: Amulet, tiny_engine: LocalEngine, command: str
) -> None:
    scale, bound = STRENGTHS[command]
    engine = Watched(tiny_engine)
    lines = f"{FIRST}\n/reset\n{command}\n{FIRST}"
    result = amulet("chat", "--preference", PREFERENCE, *SHORT, stdin=lines, engine=engine)

    before, after = engine.requests
    assert before.weights == pytest.approx(DEFAULT)
    assert after.weights == pytest.approx((1 - scale, scale))
    assert after.max_kl == bound
    assert result.exit_code == 0


def test_a_gate_leaves_the_preference_out(
    amulet: Amulet, tiny_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preference_style, "STYLE_LOG_ODDS", math.inf)
    encoder = SimpleNamespace(embed=lambda texts: torch.eye(2)[: len(texts)])
    monkeypatch.setattr(preference_embeddings, "shared_encoder", lambda name: encoder)
    monkeypatch.setattr(personalizer, "embedded_encoder_path", lambda: None)
    engine = Watched(tiny_engine)
    lines = f"{FIRST}\n/gate none\n{FIRST}\n/gate similarity:-1\n{FIRST}\n/gate near\n{FIRST}"
    command = ("chat", "--preference", PREFERENCE, "--gate", "similarity", *SHORT)
    result = amulet(*command, stdin=lines, engine=engine)

    assert [len(request.contexts) for request in engine.requests] == [1, 2, 2, 2]
    assert "/gate near: give similarity" in result.stderr

    for bad in ("similarity:", "similarity:nan", "similarity:2", "none:1", "2"):
        refused = amulet("chat", "--preference", PREFERENCE, "--gate", bad, stdin=FIRST)
        assert refused.exit_code != 0
        assert f"--gate {bad}: give similarity" in refused.stderr


def test_the_user_changes_during_the_chat(
    amulet: Amulet, tiny_engine: LocalEngine, db: str
) -> None:
    with SqlProfileStore(db) as store:
        store.save(PreferenceProfile(user_id="ann", preferences=(PREFERENCE,)))
    engine = Watched(tiny_engine)
    lines = f"/user ann\n{FIRST}\n/user bo\n{FIRST}"
    result = amulet("chat", "--profiles", db, *SHORT, stdin=lines, engine=engine)

    assert [len(request.contexts) for request in engine.requests] == [2, 1]
    assert f"bo has no profile yet in {db}" in result.stderr
    assert f'amulet profile add bo --preference "…" --profiles {db}' in result.stderr


@pytest.mark.parametrize("user", [(), ("--user", "bo")])
def test_a_chat_makes_no_database(amulet: Amulet, db: str, user: tuple[str, ...]) -> None:
    result = amulet("chat", "--profiles", db, *user, *SHORT, stdin=f"{FIRST}\n/user zed\n{FIRST}")

    assert "which does not exist" in result.stderr
    assert not Path(db).exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/nonsense", "/nonsense is no command. There are: /preference, "),
        ("/Help", "Did you mean /help?"),
        ("/rest", "Did you mean /reset?"),
        ("/42 is what?", "/42 is no command"),
        ("/preset", "/preset needs a value: /preset NAME"),
        ("/preset nice", "'gentle', 'default', 'strong' or 'paper'"),
        ("/guidance-scale much", "/guidance-scale much: give a number"),
        ("/guidance-scale 99", "99"),
        ("/strength 1e9", "(from /strength)"),
        ("/iterations 1.5", "/iterations 1.5: give a whole number, such as 2."),
        ("/max-kl -1", "Error: /max-kl -1: give nats"),
        ("/strength nope", "Error: /strength nope: give a number"),
        ("/method magic", "method='magic'"),
        ("/reset all", "/reset takes no value"),
    ],
)
def test_a_wrong_command_changes_nothing(
    amulet: Amulet, tiny_engine: LocalEngine, line: str, message: str
) -> None:
    engine = Watched(tiny_engine)
    asked = ("--preference", PREFERENCE, *SHORT)
    result = amulet("chat", *asked, stdin=f"{line}\n{FIRST}", engine=engine)

    assert message in result.stderr
    (request,) = engine.requests
    assert request.weights == pytest.approx(DEFAULT)
    assert result.exit_code == 1


def test_on_a_terminal_help_lists_the_commands_and_ctrl_c_at_the_prompt_goes_on(
    terminal: Terminal, tiny_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["/help", KeyboardInterrupt(), "/strength 3", FIRST, EOFError()])

    def read(_: str) -> str:
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)
    engine = Watched(tiny_engine)
    with terminal(100) as screen:
        code = screen.run(engine, "chat", "--preference", PREFERENCE, *SHORT)

    assert code == 0
    for name in ("/preference TEXT", "/user NAME", "/preset NAME", "/max-kl NATS", "/quit"):
        assert name in screen.text
    assert "(Ctrl-D or /quit leaves the chat)" in screen.text
    assert f"Amulet, guidance scale 3, KL ≤ {BOUND:g}" in screen.text
    assert engine.requests[0].weights == pytest.approx((-2.0, 3.0))


class Looping(Watched):
    """An engine whose answers never end."""

    def stream(self, request: GenerationRequest):
        self.requests.append(request)
        for word in itertools.cycle(["He ", "was ", "very ", "brave. "]):
            yield Increment(word, (5,))


def test_an_answer_that_goes_round_in_circles_is_ended(
    amulet: Amulet, tiny_engine: LocalEngine
) -> None:
    engine = Looping(tiny_engine)
    result = amulet("chat", stdin=f"{FIRST}\n{SECOND}", engine=engine)

    first, second = result.stdout.splitlines()
    assert first == second == "He was very brave. " * 6
    assert result.stderr.count("repeats itself") == 2
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("Once. " + "brave and he was very brave. He was very " * 4, True),
        ("hello!" * 40, True),
        ("ha" * 49, False),
        ("a, b and c. " * 3, False),
        ("-" * 500, False),
        ("| --- " * 100, False),
        ("".join(f"Line {number} of the poem is new.\n" for number in range(60)), False),
        ("", False),
    ],
)
def test_what_goes_round_in_circles(text: str, repeats: bool) -> None:
    assert repeats_itself(text) == repeats
