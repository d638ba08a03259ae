"""A server that answers each path with given bytes, and nothing else. It shows nothing of how Ollama behaves.

`/api/…` paths without an answer of their own get a good one, so that a test breaks one endpoint at a time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

MODEL = {"name": "llava:13b", "model": "llava:13b", "digest": "d1", "size": 8, "details": {"families": ["clip"]}}
CHAT = {"message": {"role": "assistant", "content": '{"text": "A man walks."}'}, "done": True, "done_reason": "stop"}
GOOD: dict[str, Any] = {
    "/api/version": {"version": "0.12.3"},
    "/api/tags": {"models": [MODEL]},
    "/api/ps": {"models": [MODEL]},
    "/api/show": {"capabilities": ["completion", "vision"]},
    "/api/chat": CHAT,
}
Answer = bytes | Callable[[asyncio.StreamWriter], Any]  # the body, or what writes a whole response


@dataclass
class RawServer:
    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split()[1]
            length = next((line.split(":")[1] for line in head.lower().split("\r\n") if "content-length" in line), "0")
            await reader.readexactly(int(length))
            self.requests.append(path)
            answer = self.answers.get(path, json.dumps(GOOD.get(path, {})).encode())
            if isinstance(answer, bytes):
                writer.write(header(f"Content-Length: {len(answer)}") + answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has disconnected
        except asyncio.CancelledError:
            pass  # the test has ended; asyncio would log it
        finally:
            writer.close()


def header(*lines: str, status: int = 200) -> bytes:
    head = [f"HTTP/1.1 {status} -", "Content-Type: application/json", "Connection: close", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    made = RawServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
