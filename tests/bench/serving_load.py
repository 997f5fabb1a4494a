"""Clients that ask one text at a time, each as soon as it has its answer: a process of its own.

    python -m tests.bench.serving_load URL FORMAT CLIENTS SECONDS

FORMAT has TEXT where the text goes. Prints a line of JSON. It speaks HTTP by hand: a client library
would take a good part of the cores that are measured.
"""

import asyncio
import json
import random
import sys
import time
from urllib.parse import urlsplit

import numpy as np

TEXT = (
    "the a setting field model view cache user page of in with when option default value returns"
    " class method query session request server error file path table key list support bug release"
)
WORDS = TEXT.split()
LENGTHS = ((0.7, 8, 30), (0.25, 40, 100), (0.05, 150, 250))  # share, words from, to
WARM_SECONDS = 1.0


def texts(count: int, seed: int) -> list[str]:
    """Texts of mixed lengths: mostly a sentence or two, a few of a page."""
    draw = random.Random(seed)
    shares = [share for share, _, _ in LENGTHS]
    found = []
    for _, low, high in draw.choices(LENGTHS, shares, k=count):
        words = draw.choices(WORDS, k=draw.randint(low, high))
        found.append(" ".join(words).capitalize() + ".")
    return found


class Client:
    """One connection, kept alive."""

    def __init__(self, url: str, form: str, seed: int) -> None:
        self.where, self.failed = urlsplit(url), 0
        self.requests = [self._request(form, text) for text in texts(200, seed)]
        self.waits: list[float] = []

    def _request(self, form: str, text: str) -> bytes:
        body = form.replace("TEXT", text).encode()
        head = (
            f"POST {self.where.path} HTTP/1.1\r\nHost: {self.where.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def run(self, begin: float, end: float) -> None:
        reader, writer = await asyncio.open_connection(self.where.hostname, self.where.port)
        number = 0
        while (now := time.perf_counter()) < end:
            writer.write(self.requests[number % len(self.requests)])
            number += 1
            status = await _answer(reader)
            if (ended := time.perf_counter()) >= begin:
                self.waits.append(ended - now)
                self.failed += status != 200
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read a response to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in head:
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    else:
        while size := int((await reader.readline()).strip(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head.split()[1])


async def load(url: str, form: str, clients: int, seconds: float) -> dict[str, float]:
    """Ask for so many seconds; what is answered within the first is not counted."""
    made = [Client(url, form, seed) for seed in range(clients)]
    begin = time.perf_counter() + WARM_SECONDS
    await asyncio.gather(*(client.run(begin, begin + seconds) for client in made))
    spent = time.perf_counter() - begin
    waits = np.array([wait for client in made for wait in client.waits])
    middle, late = (1000 * float(np.percentile(waits, share)) for share in (50, 99))
    return {
        "requests_per_second": round(len(waits) / spent, 2),
        "p50_ms": round(middle, 2),
        "p99_ms": round(late, 2),
        "failed": sum(client.failed for client in made),
    }


if __name__ == "__main__":
    url, form, clients, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(load(url, form, int(clients), float(seconds)))))
