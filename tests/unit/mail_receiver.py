"""Somebody who receives mail, on this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self


@dataclass
class MailReceiver:
    """An SMTP server of few words. `answers`: command -> what is said to it instead; empty cuts the connection."""

    answers: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[str, bytes]] = field(default_factory=list)
    """To whom, and what."""
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = ""
        try:
            writer.write(b"220 here\r\n")
            while line := await reader.readline():
                command = line.decode().upper().split(":")[0].strip().split(" ")[0]
                if command == "RCPT":
                    to = line.decode().split("<")[1].split(">")[0]
                if not await self._say(command, writer):
                    return
                if command == "DATA" and "DATA" not in self.answers:
                    data = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append((to, data))
                    if not await self._say("END", writer):
                        return
                if command == "QUIT":
                    return
        finally:
            writer.close()

    async def _say(self, command: str, writer: asyncio.StreamWriter) -> bool:
        usual = {"DATA": "354 go on", "QUIT": "221 bye"}.get(command, "250 fine")
        words = self.answers.get(command, usual)
        if words:
            writer.write(f"{words}\r\n".encode())
            await writer.drain()
        return bool(words)
