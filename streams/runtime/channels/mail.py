"""E-mail by SMTP. One connection a message: a mail server that is slow or gone holds up nothing but its own."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

from config.campaigns import NEEDED_OF_MAIL
from streams.runtime.channels.parcel import Parcel
from streams.runtime.deliveries.addresses import AddressRefused, check_address
from streams.runtime.deliveries.sender import Outcome

_AT_ONCE: Final = 16
"""Mails; a channel starts no more (`pace.Limits`)."""
_FOR_GOOD: Final = 500
"""Answers from here on are for good; those below ask for another attempt."""
_LEAVING_S: Final = 2.0
"""A server that does not say goodbye is left so soon."""
_STATUS: Final = re.compile(r"\s*(5\.\d{1,3}\.\d{1,3})(?!\S)")
"""An enhanced status (RFC 3463) at the beginning of what a server says."""
_FINAL_STATUS: Final = re.compile(r"5\.(1\.(1|2|3|6|10)|2\.[13]|3\.4|6\.\d+)")
"""About an address or a mail: no such mailbox, host or syntax (1.1 to 1.3), moved away (1.6), a domain that takes no
mail (1.10), switched off (2.1), a mail too long (2.3, 3.4) or of content that cannot be carried (6.x). All others, such
as 4.5 (too much today) and 7.1 (a blocklist, no leave to relay), are about whoever hands in, or pass."""
_FINAL_PLAIN: Final = range(550, 554)
"""Codes that are about a mailbox or the length of a mail, where no status says more. 554 is said of anything."""
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
            return Outcome(False, f"not sent: {error}", is_final=True)
        is_handed_over = False
        try:
            with self._connected() as connection:
                is_handed_over = True  # from here on nobody knows, unless the server says so
                connection.send_message(mail)
        except (AddressRefused, smtplib.SMTPException, OSError) as error:
            return _failure(error, is_handed_over=is_handed_over)
        return Outcome(True, "answered 250", 250)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A server that lets us in. What it says to the goodbye changes nothing of what it has taken."""
        server = self._server
        context = ssl.create_default_context()
        connection: smtplib.SMTP
        if server.security == "tls":
            connection = _CheckedTls(server, context, allow_private=self._allow_private)
        else:
            connection = _Checked(server, allow_private=self._allow_private)
        try:
            if server.security == "starttls":
                connection.starttls(context=context)
            if server.user is not None and server.password is not None:
                connection.login(server.user, server.password)
            yield connection
        finally:
            _leave(connection)


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


def _failure(error: AddressRefused | smtplib.SMTPException | OSError, *, is_handed_over: bool) -> Outcome:
    """What is said of an attempt that ended so. `is_handed_over`: the server had let us in."""
    if isinstance(error, AddressRefused):
        return Outcome(False, f"not sent: {error}")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        words = f"the address was refused ({_shown(code, said)})"
        return Outcome(False, words, code, is_final=_is_final(code, said))
    if isinstance(error, smtplib.SMTPResponseException):
        is_about_the_mail = isinstance(error, smtplib.SMTPDataError)
        code, answer = error.smtp_code, error.smtp_error
        is_final = is_about_the_mail and _is_final(code, answer)
        return Outcome(False, f"answered {_shown(code, answer)}", code, is_final=is_final)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome(False, f"not handed in ({error})", is_final=is_handed_over)  # then it is the address that asks
    return Outcome(False, f"not handed in ({type(error).__name__})", is_unknown=is_handed_over)


def _is_final(code: int, said: bytes | str) -> bool:
    """Whether the same mail to the same address would be refused again, whenever it is."""
    if code < _FOR_GOOD:
        return False
    status = _status(said)
    return code in _FINAL_PLAIN if status is None else _FINAL_STATUS.fullmatch(status) is not None


def _shown(code: int, said: bytes | str) -> str:
    """Of an answer what names nobody: its code, and the status if there is one."""
    status = _status(said)
    return str(code) if status is None else f"{code} {status}"


def _status(said: bytes | str) -> str | None:
    """The enhanced status of a refusal for good, if the server says one."""
    text = said.decode("ascii", "replace") if isinstance(said, bytes) else said
    found = _STATUS.match(text)
    return None if found is None else found[1]


def _leave(connection: smtplib.SMTP) -> None:
    """Quietly, and soon."""
    try:
        if connection.sock is not None:
            connection.sock.settimeout(_LEAVING_S)
            connection.quit()
    except (smtplib.SMTPException, OSError):
        pass  # it was left either way
    finally:
        connection.close()


def _first_that_answers(addresses: Sequence[str], port: int, timeout_s: float) -> socket.socket:
    """Raises OSError: the last one's, or that there is none."""
    error = OSError("the mail server has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as failed:
            error = failed
    raise error


def is_sender(text: str) -> bool:
    """Whether From can say it: one address, with a name before it or without."""
    return text.isprintable() and _ADDRESS.fullmatch(parseaddr(text)[1]) is not None


def mail_of(parcel: Parcel, sender: str) -> EmailMessage:
    """A parcel as a mail. Raises ValueError for an address or header that cannot be one, or a missing part."""
    missing = [part for part in NEEDED_OF_MAIL if part not in parcel.texts]
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
