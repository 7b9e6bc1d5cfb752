"""Reads the parts of a service's answer: pictures, errors, and how long to wait."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

LONGEST_WAIT = 1e9
"""Seconds; what is longer is not waited for, and clocks do not count that far."""

MIN_PICTURE = 100
"""Bytes of JSON at least that hold a picture of any kind."""


def is_long_json(body: bytes) -> bool:
    """Whether a body is JSON that is long enough to hold a picture."""
    if len(body) < MIN_PICTURE:
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def read_error(body: bytes) -> tuple[str, str, str]:
    """Code (or type), message and parameter of an error's body, empty where it has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", "", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or ""
        return str(error.get("code") or error.get("type") or ""), str(message), str(error.get("param") or "")
    return "", str(error) if isinstance(error, str) else "", ""


def is_data_url(text: str) -> bool:
    return text.lstrip()[:5].lower() == "data:"


def decode_picture(text: str) -> bytes | None:
    """The bytes that a service wrote as text, in any of the spellings that services use; None when it is none of them.

    Base64 of either alphabet (RFC 4648, sections 4 and 5), with or without padding, line breaks and percent escapes; or a
    ``data:`` URL (RFC 2397), with any parameters, of such base64 or of percent-encoded bytes.
    """
    if not is_data_url(text):
        return _decode_base64(text)
    head, comma, payload = text.lstrip().partition(",")
    if not comma:
        return None
    content = _decode_base64(payload)
    if content is None and text.isascii() and not re.search(r";\s*base64\s*\Z", head, re.IGNORECASE):
        content = unquote_to_bytes(payload)
    return content or None


def _decode_base64(text: str) -> bytes | None:
    if not text.isascii():
        return None
    if "%" in text:  # no letter of either alphabet
        text = unquote_to_bytes(text).decode("latin-1")
    letters = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, given as seconds or as a date (by the service's own clock); None without."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), LONGEST_WAIT)
    then = _date(text)
    if then is None:
        return None
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    try:
        return max(0.0, (then - now).total_seconds())
    except OverflowError:
        return LONGEST_WAIT


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
