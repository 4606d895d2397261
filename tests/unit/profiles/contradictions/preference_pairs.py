"""Pairs of preferences, written before the words that find contradictions among them.

The words were chosen by the first half of each list (`BUILDING`). The second half (`HELD_OUT`) was
not looked at meanwhile; its figures are those to believe.
"""

from __future__ import annotations

Pair = tuple[str, str]

CONTRADICTING: list[Pair] = [
    ("Answer briefly.", "Write long, detailed answers."),
    ("Be concise.", "Explain everything in great detail."),
    ("Answer in one short sentence.", "Give comprehensive answers of several paragraphs."),
    ("Keep it short.", "I like lengthy explanations."),
    ("Answer in German.", "Always answer in English."),
    ("Reply in French only.", "Please write in Spanish."),
    ("Speak English with me.", "Never answer in English."),
    ("Use bullet points.", "Do not use bullet points."),
    ("Use lists where you can.", "Write flowing prose without lists."),
    ("Format answers as Markdown.", "Plain text only, no Markdown."),
    ("Use emojis.", "No emojis, please."),
    ("Sprinkle in some emoji.", "Avoid emojis."),
    ("Be formal.", "Be casual."),
    ("Use a formal tone.", "Talk to me informally, like a friend."),
    ("Be serious.", "Make jokes."),
    ("Answer like a friendly pirate.", "Do not talk like a pirate."),
    ("Write in a humorous way.", "No humour."),
    ("Explain it in simple words.", "Use technical terms freely."),
    ("Avoid jargon.", "Use precise technical jargon."),
    ("I am a beginner, explain the basics.", "I am an expert, skip the basics."),
    ("Give examples.", "Don't give examples."),
    ("Use metric units.", "Use imperial units."),
    ("Temperatures in Celsius.", "Give temperatures in Fahrenheit."),
    ("Be polite and gentle.", "Be blunt and harsh."),
    ("Cite your sources.", "Leave out sources."),
    ("Show code in Python.", "Show all code in Rust."),
    ("Ask questions before answering.", "Never ask me questions, just answer."),
    ("Begin with a summary.", "No summaries."),
    ("Use tables.", "Never use tables."),
    ("Include code comments.", "Write code without comments."),
    ("User prefers short replies.", "User prefers long replies."),
    ("Call me by my first name.", "Do not call me by my first name."),
]
"""Nobody can follow both in one answer."""

COMPATIBLE: list[Pair] = [
    ("Answer briefly.", "Use bullet points."),
    ("Be concise.", "Answer in German."),
    ("Write long answers.", "Use emojis."),
    ("Answer briefly.", "Keep answers short."),
    ("Don't be verbose.", "Be brief."),
    ("Answer in English.", "Do not answer in French."),
    ("Be formal.", "Be polite."),
    ("Avoid jargon.", "Use simple words."),
    ("Use metric units.", "Give examples."),
    ("I like long walks.", "Answer briefly."),
    ("Write short sentences.", "Write detailed answers."),
    ("I am learning Spanish.", "Answer in English."),
    ("Use short variable names.", "Write long docstrings."),
    ("Explain with examples from cooking.", "Never suggest recipes with meat."),
    ("No emojis.", "No jokes."),
    ("Be friendly.", "Be honest."),
    ("Show code in Python.", "Answer in English."),
    ("Never use tables.", "Use bullet points."),
    ("Be casual.", "Make jokes."),
    ("I prefer short trips.", "I prefer long novels."),
    ("Translate German texts for me.", "Answer in English."),
    ("Do not write long answers.", "Be concise."),
    ("Give detailed code reviews.", "Keep greetings short."),
    ("My brother is a formal man.", "Be casual."),
    ("Cite your sources.", "Do not cite Wikipedia."),
    ("Use British spelling.", "Answer in English."),
    ("Not too long, please.", "Short answers."),
    ("Recommend French restaurants.", "Answer in Italian."),
    ("Do not use Python 2.", "Show code in Python 3."),
    ("Explain like I am five.", "Use simple words."),
    ("User dislikes small talk.", "User likes jazz."),
    ("Use tables for numbers.", "Use lists for steps."),
]
"""One answer can follow both, or one of them says nothing about answers."""

BUILDING = slice(0, None, 2)
HELD_OUT = slice(1, None, 2)
