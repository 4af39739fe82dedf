"""E-mail by SMTP. One connection a message: a mail server that is slow or gone holds up nothing but its own."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

from streams.runtime.channels.parcel import Parcel
from streams.runtime.deliveries.addresses import AddressRefused, check_address
from streams.runtime.deliveries.sender import Outcome

_PARTS: Final = ("subject", "body")
_AT_ONCE: Final = 16
"""Mails; a channel starts no more (`pace.Limits`)."""
_ADDRESS: Final = re.compile(r"[^\s@<>()\[\],;:\"\\]{1,64}@[^\s@<>()\[\],;:\"\\]{1,255}")
"""One address, and nothing that a header could take for the end of it."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in."""

    host: str
    port: int
    security: str
    """tls (from the start), starttls, or none (a server on this machine)."""
    user: str | None = None
    password: str | None = None
    timeout_s: float = 20.0

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port})"  # never a password into a log


class MailChannel:
    """A message has the parts `subject` and `body`, `body_html` if it likes, and `unsubscribe_url` for one click."""

    at_once = 1
    knows_ids = False

    def __init__(self, server: MailServer, sender: str, *, allow_private: bool) -> None:
        """`sender`: what stands in From, such as `Shop <news@shop.example>`.

        `allow_private`: the server may be one that is not in the public internet.
        """
        self._server = server
        self._sender = sender
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_AT_ONCE, "mail")
        """Of its own: a mail server that is slow must not take those by which others ask the store."""

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """See `Channel`."""
        loop = asyncio.get_running_loop()
        handing = (loop.run_in_executor(self._threads, self._hand_in, parcel) for parcel in parcels)
        return list(await asyncio.gather(*handing))

    async def close(self) -> None:
        """What is under way comes to its end, which nobody waits for."""
        self._threads.shutdown(wait=False)

    def _hand_in(self, parcel: Parcel) -> Outcome:
        try:
            mail = mail_of(parcel, self._sender)
        except (ValueError, MessageError) as error:
            return Outcome(False, f"not sent: {error}")
        is_handed_over = False
        try:
            with self._connect() as connection:
                is_handed_over = True  # from here on nobody knows, unless the server says so
                connection.send_message(mail)
        except smtplib.SMTPRecipientsRefused as refused:
            code = next(iter(refused.recipients.values()))[0]
            return Outcome(False, f"the address was refused ({code})", code)
        except smtplib.SMTPResponseException as answered:
            return Outcome(False, f"answered {answered.smtp_code}", answered.smtp_code)
        except AddressRefused as refused_by:
            return Outcome(False, f"not sent: {refused_by}")
        except (smtplib.SMTPException, OSError) as error:
            return Outcome(False, f"not handed in ({type(error).__name__})", is_unknown=is_handed_over)
        return Outcome(True, "answered 250", 250)

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        context = ssl.create_default_context()
        connection: smtplib.SMTP
        if server.security == "tls":
            connection = _CheckedTls(server, context, allow_private=self._allow_private)
        else:
            connection = _Checked(server, allow_private=self._allow_private)
            if server.security == "starttls":
                connection.starttls(context=context)
        if server.user is not None and server.password is not None:
            connection.login(server.user, server.password)
        return connection


class _Checked(smtplib.SMTP):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, server: MailServer, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        super().__init__(server.host, server.port, timeout=server.timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Raises AddressRefused if any of the name's addresses is none of the public internet."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        for address in addresses:
            check_address(address, allow_private=self._allow_private)
        return _first_that_answers(addresses, port, timeout)


class _CheckedTls(smtplib.SMTP_SSL, _Checked):
    """The same, encrypted from the start: the name is what the certificate has to have."""

    def __init__(self, server: MailServer, context: ssl.SSLContext, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        smtplib.SMTP_SSL.__init__(self, server.host, server.port, timeout=server.timeout_s, context=context)


def _first_that_answers(addresses: Sequence[str], port: int, timeout_s: float) -> socket.socket:
    """Raises OSError: the last one's, or that there is none."""
    error = OSError("the mail server has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as failed:
            error = failed
    raise error


def mail_of(parcel: Parcel, sender: str) -> EmailMessage:
    """A parcel as a mail. Raises ValueError for an address or header that cannot be one, or a missing part."""
    missing = [part for part in _PARTS if part not in parcel.texts]
    if missing:
        raise ValueError(f"a mail needs the part {missing[0]}")
    if not _ADDRESS.fullmatch(parcel.address or ""):
        raise ValueError("the address is none")
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = Address(addr_spec=parcel.address or "")
    mail["Subject"] = " ".join(parcel.texts["subject"].split())  # a line break in a title is none in a header
    mail["Date"] = format_datetime(datetime.fromtimestamp(parcel.at_s, UTC))
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    mail["Message-ID"] = f"<{parcel.id}@{domain}>"
    if "unsubscribe_url" in parcel.texts:
        mail["List-Unsubscribe"] = f"<{parcel.texts['unsubscribe_url'].strip()}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(parcel.texts["body"])
    if "body_html" in parcel.texts:
        mail.add_alternative(parcel.texts["body_html"], subtype="html")
    return mail
