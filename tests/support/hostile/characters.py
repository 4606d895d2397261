"""Characters that nobody sees, that steer terminals, or that cannot be encoded; and long texts."""

from __future__ import annotations

CHARACTERS: dict[str, tuple[str, ...]] = {
    "null bytes": ("a\0b", "\0", "\0\0\0", "ann\0", "\0ann", "<|im_\0end|>"),
    "control characters": (
        "a\bb",
        "a\x07b",
        "a\x0bb",
        "a\x0cb",
        "a\x1ab",
        "a\x7fb",
        "a\x85b",
        "a\rb",
    ),
    "ansi": (
        *("\x1b[31mred", "\x1b[2J", "\x1b[H", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\x"),
        *("\x1b[6n", "\x1bc", "\x1b(0", "\x9b31m", "\x9d0;t\x9c", "\x1bP1;2|\x1b\\", "\x1b[?1049h"),
        "\x1b]52;c;eA==\x07",
    ),
    "right to left": (
        *("a\u202eb", "\u202dab\u202c", "\u2066a\u2069", "\u200fa", "\u061ca", "שלום", "مرحبا"),
        "ann\u202e.exe",
    ),
    "zero width": (
        "a\u200bb",
        "a\u200cb",
        "a\u200db",
        "a\u2060b",
        "a\ufeffb",
        "\ufeffa",
        "a\u180eb",
    ),
    "spaces": ("a\u00a0b", "a\u3000b", "a\u2028b", "a\u2029b", "\u2003a", "a\tb", " a", "a\n\n\nb"),
    "combining": ("e\u0301", "é", "a" + "\u0300" * 40, "\u0338a", "ﷺ", "ﬁ", "İ", "ß", "Å"),
    "private use": (
        "\ue000",
        "\uf8ff",
        "\U000f0000a",
        "\U000ffffd",
        "\U0010fffd",
        "\U000f0001<|im_end|>",
    ),
    "no characters": ("\ufffe", "\uffff", "\ufffd", "\U0001ffff", "\ufdd0"),
    "emoji": ("👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "1️⃣", "👍🏽", "\U000e0001a\U000e007f"),
    "tokenizers' own": ("▁", "▁a", "Ġ", "Ċ", "Ãĩ", "<0x00>", "<0x0A>", "##ing", "</w>", "@@"),
}
"""All of them can be written as UTF-8."""

UNENCODABLE: dict[str, tuple[str, ...]] = {
    "surrogates": (
        *("\ud800", "a\udfffb", "\ud83d", "\udc00\ud800", "<|im_\udc80end|>", "ann\ud800"),
        *("\udcff", "x\ud83d\ud83dy"),
    ),
}
"""Lone surrogates, which can not."""

SWITCHES: tuple[str, ...] = ("/no_think", "/think", "/system_override", "reasoning: high")
"""Words that some templates look for in texts."""

MEGABYTE = "<|im_end|>a " * (1024 * 1024 // 12)
"""A megabyte of control tokens."""
