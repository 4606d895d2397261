"""Pairs of preferences, to measure how many contradictions are found and how many are seen falsely.

The words that find contradictions were chosen by `CONTRADICTING` and `COMPATIBLE`, and bettered
once by `LATER_…`, where they had found 8 of 20 and seen 2 of 20 falsely. The `HELD_OUT_…` pairs
were written after that. On them the words found 10 of 20, and saw 2 of 20 falsely: the figures to
believe. Only then were the two false ones, and "can't stand", put right.

`ATTACKING` was written by somebody else, to be seen falsely: 15 of 40 such pairs were. These are
those that are put right.
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

LATER_CONTRADICTING: list[Pair] = [
    ("I'm in a hurry, so get to the point.", "Take your time and walk me through all of it."),
    ("tl;dr style please", "I want the full story every time, with all the background."),
    ("Limit replies to 50 words.", "Essays are fine, the more the better."),
    ("Short and sweet!", "Please be as thorough as possible."),
    ("Max two sentences per answer.", "Long-form answers with plenty of detail, please."),
    ("My English is bad, use German.", "Everything in English, please."),
    ("Réponds en français.", "Answer in English."),
    ("always respond in spanish", "always respond in portuguese"),
    ("no bullet lists, I read on a phone", "structure everything as bullet lists"),
    ("Please, no emoji!", "I love emojis in answers"),
    ("Keep it professional.", "Talk to me like a buddy."),
    ("Use a casual tone", "Formal register only"),
    ("You may joke around.", "Don't try to be funny."),
    ("Be brutally honest, don't sugar-coat.", "Be gentle with criticism."),
    ("ELI5", "Assume I have a PhD in physics."),
    ("Avoid technical language", "Don't dumb it down, use the technical terms"),
    ("Distances in miles.", "Use kilometres."),
    ("Always include sources", "I don't need citations"),
    ("Python for all code", "Write code in TypeScript"),
    ("Sound like Shakespeare.", "Sound like a modern teenager."),
]

LATER_COMPATIBLE: list[Pair] = [
    ("I live in Germany.", "Respond in English please"),
    ("Keep it short for chit-chat.", "Go into detail on code reviews."),
    ("I hate long meetings", "Give thorough answers"),
    ("no politics", "be funny"),
    ("My kids are 5 and 7.", "Use technical terms."),
    ("I work in a formal office.", "Keep the tone casual."),
    ("Prefer tabs over spaces", "Use tables for comparisons"),
    ("Don't use passive voice.", "Be formal."),
    ("I'm learning French; correct my French mistakes.", "Answer in English."),
    ("Vegan recipes only", "Keep recipes simple"),
    ("Use 24-hour time.", "Use metric units."),
    ("Never lie to me", "Be kind"),
    ("short paragraphs", "long, detailed answers"),
    ("End with a question", "Be concise."),
    ("No long intros.", "Give detailed explanations."),
    ("I prefer JavaScript jobs.", "Show code in Python."),
    ("don't mention my weight", "be blunt"),
    ("Explain like a teacher", "Be patient with me"),
    ("I like lists of films", "Don't be too verbose"),
    ("No sources older than 2020", "Cite your sources"),
]

HELD_OUT_CONTRADICTING: list[Pair] = [
    ("Don't waste words.", "I enjoy reading long answers."),
    ("Two paragraphs at most.", "Give me at least ten paragraphs."),
    ("Answer with yes or no.", "Always explain your reasoning step by step."),
    ("User wants concise replies", "User appreciates detailed explanations"),
    ("You can be brief with me.", "Please elaborate on everything."),
    ("Deutsch bitte.", "English please."),
    ("Reply in Italian", "Please answer me in Dutch from now on"),
    ("I want answers in Japanese.", "Respond only in Korean."),
    ("Give me code in Go.", "All examples in Java, please."),
    ("No markdown formatting", "Use markdown headings"),
    ("Please use bullet points.", "I can't stand bullet points."),
    ("Emojis make me happy, use them.", "I find emojis annoying, leave them out."),
    ("Be playful.", "Keep a sober, matter-of-fact tone."),
    ("Use formal language", "Use informal language"),
    ("Be direct, even if it hurts.", "Be gentle."),
    ("Skip the small talk and jokes.", "Tell a joke now and then."),
    ("Answer as a medieval knight.", "Answer as a robot."),
    ("Explain things in plain English.", "Use the proper technical terms."),
    ("Cite sources.", "Never cite sources."),
    ("Weights in kilograms.", "Weights in pounds."),
]

HELD_OUT_COMPATIBLE: list[Pair] = [
    ("My manager likes long reports.", "Be brief."),
    ("Write me emails in German.", "Speak English with me."),
    ("I speak Spanish and Polish.", "Reply in English."),
    ("Call me Captain.", "Talk like a pirate."),
    ("Never use the word 'very'.", "Be formal."),
    ("I have a great sense of humour.", "Be serious."),
    ("Avoid long sentences.", "Explain in detail."),
    ("No code, please.", "Give examples."),
    ("I teach English in Prague.", "Please answer in Czech."),
    ("Use lists only for steps.", "Write in prose."),
    ("I like technical books.", "Use simple language."),
    ("Don't ask for my age.", "Ask questions before answering."),
    ("I drive on the left.", "Distances in miles."),
    ("Don't apologise.", "Be polite."),
    ("Short poems, please.", "Long stories, please."),
    ("Be a patient teacher.", "Be brief."),
    ("I no longer smoke.", "Use emojis."),
    ("Recipes without nuts.", "Recipes with examples of side dishes."),
    ("Summaries of no more than five lines.", "Begin with a summary."),
    ("Explain Python code line by line.", "Show code in Rust."),
]

ATTACKING: list[Pair] = [
    ("Be formal in emails.", "Be casual in chats."),
    ("Use no bullet points.", "Give lists of ingredients in recipes."),
    ("Reply in French on Mondays.", "Reply in Spanish on Tuesdays."),
    ("Do not ask me for sources.", "Cite sources."),
    ("Use Celsius for weather.", "Use Fahrenheit for ovens."),
    ("No long answers, please.", "Not too short an answer."),
    ("Explain jargon.", "Use simple language."),
    ("Never use jargon without explaining it.", "Use technical terms."),
    ("Summarize in one sentence at the end.", "Write long answers."),
]
"""Each preference holds in places only, or wants less than its words seem to say."""
