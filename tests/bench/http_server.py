"""The same service as two web servers, as one would write it first: a provider that answers with JSON, samples in base64, and
a daemon that fetches that and answers with it. Each keeps its connections open. Children of the bench, on 127.0.0.1:

    python -m tests.bench.http_server provider | daemon PROVIDER_URL

Each prints the port that it listens on.
"""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from tests.bench import prepared
from voicebox_provider import lifeline

_SLOWEST_S = 60.0


class Wish(BaseModel):
    """What shall be spoken."""

    ms: int


class Question(BaseModel):
    """A small question with a deadline, of the size that ours has."""

    req: str
    deadline_ms: int


def provider() -> FastAPI:
    """The process that speaks."""
    app = FastAPI()
    sound = prepared.tone()

    @app.post("/speech")
    async def speech(wish: Wish) -> dict[str, Any]:
        samples = np.clip(sound[: prepared.frames(wish.ms)], -1.0, 1.0)
        return {"sample_rate": prepared.RATE, "samples": base64.b64encode(samples.data).decode()}

    @app.post("/question")
    async def question(asked: Question) -> dict[str, Any]:
        return {"req": asked.req, "left_ms": asked.deadline_ms}

    return app


def daemon(provider_url: str) -> FastAPI:
    """The process in between."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=provider_url, trust_env=False, timeout=_SLOWEST_S) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    async def fetched(path: str, asked: BaseModel) -> dict[str, Any]:
        client: httpx.AsyncClient = app.state.client
        answer = await client.post(path, json=asked.model_dump())
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    @app.post("/speech")
    async def speech(wish: Wish) -> dict[str, Any]:
        return await fetched("/speech", wish)

    @app.post("/question")
    async def question(asked: Question) -> dict[str, Any]:
        return await fetched("/question", asked)

    return app


def main(role: str, *arguments: str) -> None:
    lifeline.die_with_parent()
    app = daemon(*arguments) if role == "daemon" else provider()
    # asyncio switches Nagle's algorithm off, without which each small answer would wait 40 ms, only for sockets that say TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
