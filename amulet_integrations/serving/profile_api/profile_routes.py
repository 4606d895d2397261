"""Reading, writing and erasing profiles."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/v1/profiles", tags=["profiles"])
