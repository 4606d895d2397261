"""What a server lets through, apart from the model: requests, and events of streams.

    python -m benchmarks.scale.way_in http://127.0.0.1:8000 [--clients 16] [--seconds 10] [--key K]

The events are those of the model that is served; with a tiny one they show what the way in does.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

TOKENS = 300


async def ask(http: httpx.AsyncClient, _model: str) -> int:
    """One request that the model has no part in."""
    (await http.get("/v1/models")).raise_for_status()
    return 1


async def read_stream(http: httpx.AsyncClient, model: str) -> int:
    """The events of one stream."""
    messages = [{"role": "user", "content": "Tell me all that you know."}]
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, "min_tokens": TOKENS}
    events = 0
    async with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as got:
        got.raise_for_status()
        async for line in got.aiter_lines():
            events += line.startswith("data: {")
    return events


async def measure(
    what: Callable[[httpx.AsyncClient, str], Awaitable[int]], given: argparse.Namespace
) -> float:
    """How much of it comes in a second, for clients that ask one after the other."""
    headers = {"Authorization": f"Bearer {given.key}"}
    async with httpx.AsyncClient(base_url=given.url, headers=headers, timeout=300) as http:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        started = time.perf_counter()

        async def client() -> int:
            count = 0
            while time.perf_counter() < started + given.seconds:
                count += await what(http, model)
            return count

        counts = await asyncio.gather(*(client() for _ in range(given.clients)))
        return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--key", default="none")
    given = parser.parse_args()
    for name, what in (("requests", ask), ("events of streams", read_stream)):
        print(f"{asyncio.run(measure(what, given)):.0f} {name} a second, {given.clients} clients")


if __name__ == "__main__":
    main()
