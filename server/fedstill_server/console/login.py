"""Who may look: an operator's password, sessions of a browser, and a token for programs.

keys/console.json holds the password as a scrypt hash, the digest of the token, and the secret that signs
sessions; all three are new with a new password, which ends every session. A session is a cookie with the
time at which it ends, signed (HMAC-SHA-256); nothing is kept of it here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError

from fedstill_server.config.codec import from_json
from fedstill_server.console.errors import ConsoleError
from fedstill_server.fleet.folder import FleetFolder

LEAST_PASSWORD = 12  # characters
SESSION_S = 12 * 3600.0
_N, _R, _P = 1 << 15, 8, 1  # scrypt: 32 MiB, about 0.1 s
_SCRYPT_BYTES = 64 << 20
_PASSWORD_LIMIT = 1024
_TRIES, _TRIES_OF_ALL, _WINDOW_S = 5, 50, 60.0
_REMEMBERED = 1024  # addresses


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What keys/console.json holds; all in hexadecimal digits."""

    salt: str
    password: str
    secret: str
    token: str

    @classmethod
    def create(cls, password: str) -> tuple[Credentials, str]:
        """Take a password, and make a token for programs, which is returned beside and kept nowhere.

        Raises:
            ConsoleError: The password is too short, or too long.
        """
        if not LEAST_PASSWORD <= len(password) <= _PASSWORD_LIMIT:
            raise ConsoleError(
                f"password: {len(password)} characters; give {LEAST_PASSWORD} to {_PASSWORD_LIMIT}, such as "
                "five words that come to nobody's mind together."
            )
        salt, token = secrets.token_bytes(16), secrets.token_urlsafe(32)
        made = cls(
            salt=salt.hex(),
            password=_scrypt(password, salt).hex(),
            secret=secrets.token_hex(32),
            token=hashlib.sha256(token.encode()).hexdigest(),
        )
        return made, token

    def write(self, fleet: FleetFolder) -> None:
        """Put them in place of the fleet's."""
        fleet.digests.write(_file(fleet), (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def read(cls, fleet: FleetFolder) -> Credentials:
        """Those of a fleet; raises ConsoleError where there are none."""
        path = _file(fleet)
        remedy = f"run: fedstill-server console-password {fleet.folder}"
        try:
            return from_json(cls, json.loads(path.read_bytes()), where=str(path))
        except FileNotFoundError:
            raise ConsoleError(f"{path}: the console has no password yet; {remedy}") from None
        except (OSError, ValueError, FedstillError) as error:
            raise ConsoleError(f"{path}: cannot be read: {error}; {remedy}") from None

    def is_password(self, given: str) -> bool:
        """Whether it is the password; takes as long for a wrong one."""
        known, salt = bytes.fromhex(self.password), bytes.fromhex(self.salt)
        return hmac.compare_digest(_scrypt(given[:_PASSWORD_LIMIT], salt), known)

    def is_token(self, given: str) -> bool:
        """Whether it is the token of programs."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), self.token)


class Sessions:
    """Cookies that say until when a browser is let in, and what its forms must hold."""

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = bytes.fromhex(secret), clock

    def begin(self) -> str:
        """A new session's cookie."""
        content = f"{self._clock() + SESSION_S:.0f}.{secrets.token_urlsafe(16)}"
        return f"{content}.{self._signed('session', content)}"

    def holds(self, cookie: str) -> bool:
        """Whether it is a cookie of ours whose time is not over."""
        content, _, signature = cookie.rpartition(".")
        if not content or not _equal(signature, self._signed("session", content)):
            return False
        return self._clock() < float(content.partition(".")[0])

    def form_token(self, cookie: str) -> str:
        """What a form of this session must hold: a page of another site cannot know it."""
        return self._signed("form", cookie)

    def is_form_token(self, cookie: str, given: str) -> bool:
        """Whether a form was made for this cookie."""
        return bool(cookie) and _equal(given, self.form_token(cookie))

    def _signed(self, purpose: str, content: str) -> str:
        digest = hmac.digest(self._secret, f"{purpose}:{content}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Tries:
    """How often somebody may try a password: five times a minute from an address, and fifty from all."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_all: deque[float] = deque()
        self._of_each: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the next try from an address; 0 where it may try now."""
        now = self._clock()
        of_one = self._of_each.get(address, deque())
        return max(_left(of_one, _TRIES, now), _left(self._of_all, _TRIES_OF_ALL, now))

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        now = self._clock()
        of_one = self._of_each.pop(address, deque())
        self._of_each[address] = of_one
        for tries in (of_one, self._of_all):
            tries.append(now)
        while len(self._of_each) > _REMEMBERED:
            self._of_each.popitem(last=False)


def _left(tries: deque[float], most: int, now: float) -> float:
    while tries and now - tries[0] >= _WINDOW_S:
        tries.popleft()
    return 0.0 if len(tries) < most else _WINDOW_S - (now - tries[-most])


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_SCRYPT_BYTES, dklen=32)


def _file(fleet: FleetFolder) -> Path:
    return fleet.keys / "console.json"
