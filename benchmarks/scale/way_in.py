"""Requests a second that a server lets through, without the model: GET /v1/models.

python -m benchmarks.scale.way_in http://127.0.0.1:8000 [--clients 16] [--seconds 10] [--key KEY]
"""

from __future__ import annotations

import argparse
import asyncio
import time

import httpx


async def requests_a_second(url: str, clients: int, seconds: float, key: str) -> float:
    """How many are answered, by clients that ask one after the other."""
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60) as http:
        end = time.perf_counter() + seconds

        async def ask() -> int:
            count = 0
            while time.perf_counter() < end:
                (await http.get("/v1/models")).raise_for_status()
                count += 1
            return count

        started = time.perf_counter()
        answered = sum(await asyncio.gather(*(ask() for _ in range(clients))))
        return answered / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--key", default="none")
    given = parser.parse_args()
    rate = asyncio.run(requests_a_second(given.url, given.clients, given.seconds, given.key))
    print(f"{rate:.0f} requests a second, {given.clients} clients")


if __name__ == "__main__":
    main()
