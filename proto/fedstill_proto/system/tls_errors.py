"""Why a server's certificate is not believed: found in the errors of HTTP clients, in words for a person."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

_OF_DATES = (9, 10)  # OpenSSL's codes: not valid yet, and expired
_OF_NAMES = (62, 64)  # another host name, and another address


def certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refused certificate that an error came of; None where it came of something else."""
    return next((one for one in _causes(error) if isinstance(one, ssl.SSLCertVerificationError)), None)


def is_of_dates(error: ssl.SSLCertVerificationError) -> bool:
    """Whether the certificate would be believed at another time."""
    return error.verify_code in _OF_DATES


def in_words(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate, and what that means."""
    if is_of_dates(error):
        return f"its certificate is not valid at this device's date, {this_date()}"
    if error.verify_code in _OF_NAMES:
        return f"its certificate is for another name or address ({error.verify_message})"
    return f"another server answers there: its certificate is not the fleet's ({error.verify_message})"


def this_date() -> str:
    """What the device's clock says."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came of; urllib3 hands some on as an argument alone."""
    while error is not None:
        yield error
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else None
        inner = inner or next((each for each in error.args if isinstance(each, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
