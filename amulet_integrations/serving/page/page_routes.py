"""The page and its two files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, get_args

from fastapi import APIRouter, Request, Response

from amulet_integrations.decoding.strength import PRESETS, Method
from amulet_integrations.explanation.look import look
from amulet_integrations.explanation.shown_tokens import legend
from amulet_integrations.explanation.tints import LEVELS, SATURATION, tint_class
from amulet_integrations.html_templates import open_templates
from amulet_integrations.serving.server_state import State

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # A browser asks each time whether its copy is the newest one.
        "Cache-Control": "no-cache",
    }
)
_PARTS = (
    *("elements", "texts", "figures", "server", "preference_rows", "settings", "asking", "facts"),
    *("profile_form", "profile", "start"),
)
_USUAL_TOKENS = 200
_LARGEST_STEP = 0.25


class _File(NamedTuple):
    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request, state: State) -> Response:
    """The page. It holds no user's data: it asks the API for that, with the reader's own key."""
    settings = state.settings
    return _answer(request, _index(settings.max_guidance_scale, settings.max_tokens))


@router.api_route("/page.js", methods=["GET", "HEAD"])
def script(request: Request) -> Response:
    """The page's script."""
    return _answer(request, _script())


@router.api_route("/page.css", methods=["GET", "HEAD"])
def style(request: Request) -> Response:
    """The page's style sheet."""
    return _answer(request, _style())


def _answer(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    known = request.headers.get("If-None-Match", "").split(",")
    if file.etag in {it.strip().removeprefix("W/") for it in known}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _index(largest_scale: float, max_tokens: int) -> _File:
    templates = open_templates(_FOLDER)
    templates.filters["tint_class"] = tint_class
    text = templates.get_template("index.html.j2").render(
        largest_scale=largest_scale,
        default_scale=min(PRESETS["default"].guidance_scale, largest_scale),
        strength_step=min(_LARGEST_STEP, largest_scale / 8),
        max_tokens=max_tokens,
        usual_tokens=min(_USUAL_TOKENS, max_tokens),
        presets=tuple(PRESETS),
        methods=get_args(Method),
        saturation=SATURATION,
        highest_level=LEVELS,
        levels=range(-LEVELS, LEVELS + 1),
        legend=legend(),
    )
    return _file(text, "text/html")


@cache
def _script() -> _File:
    parts = [(_FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8") for name in _PARTS]
    return _file("\n".join(parts), "text/javascript")


@cache
def _style() -> _File:
    return _file(look() + (_FOLDER / "page.css").read_text(encoding="utf-8"), "text/css")


def _file(text: str, media_type: str) -> _File:
    content = text.encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, media_type, etag)
