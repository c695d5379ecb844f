"""What stands in place of personal data: typed placeholders, values of reserved ranges, keyed pseudonyms.

A reserved value belongs to nobody and is never routed: it comes from a range that a registry keeps for documentation,
fiction or tests.  Every replacement is recognised again (`walls`), so that redacted text is not redacted further.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator

from pii.kinds import KINDS, PLACEHOLDERS

# North American area codes under which 555-0100 to 555-0199 are kept for fiction (ATIS-0300115).
_AREAS = (202, 212, 213, 214, 303, 305, 312, 404, 415, 512, 602, 617, 702, 713, 718, 808)
_TEST_NETS = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737

# kind -> what range its replacements are of
RESERVED: dict[str, str] = {
    "EMAIL": "example.com (RFC 2606)",
    "IP_ADDRESS": "TEST-NET-1, 2 and 3 (RFC 5737), 2001:db8::/32 (RFC 3849)",
    "PHONE": "+1-NPA-555-01XX, kept for fiction (ATIS-0300115)",
    "CREDIT_CARD": "0000-0000-XXXX-XXXX: no issuer has the industry digit 0 (ISO/IEC 7812-1)",
    "IBAN": "XX00...: XX is user-assigned in ISO 3166-1, and check digits are never 00",
    "NATIONAL_ID": "000-00-XXXX: an area and a group that are never given out (SSA)",
    "IMEI": "00-100000-XXXXXX-X: reporting body 00 is for tests (GSMA TS.06)",
    "MAC_ADDRESS": "00-00-5E-00-53-XX (RFC 7042)",
    "URL": "https://example.com/ (RFC 2606)",
    "USERNAME": "username_N, as StarCoder's issues",
}
LETTERS = 12  # hexadecimal digits of a pseudonym: 48 bits


def reserved(kind: str, value: str, number: int) -> str:
    """The `number`-th replacement of the kind's range; numbers beyond the range begin anew.  KeyError: no range."""
    if kind == "IP_ADDRESS":
        if ":" in value:
            groups = [f"{number >> shift & 0xFFFF:x}" for shift in (48, 32, 16, 0)]
            return "2001:db8:" + ":".join(groups) + "::1"
        number %= 3 * 254
        return f"{_TEST_NETS[number // 254]}.{number % 254 + 1}"
    if kind == "PHONE":
        number %= 100 * len(_AREAS)
        return f"+1-{_AREAS[number // 100]}-555-01{number % 100:02d}"
    forms = {
        "EMAIL": f"user-{number % 16**LETTERS:012x}@example.com",
        "CREDIT_CARD": f"0000-0000-{number // 10_000 % 10_000:04d}-{number % 10_000:04d}",
        "IBAN": f"XX00{number % 10**16:016d}",
        "NATIONAL_ID": f"000-00-{number % 10_000:04d}",
        "IMEI": f"00-100000-{number // 10 % 10**6:06d}-{number % 10}",
        "MAC_ADDRESS": f"00-00-5E-00-53-{number % 256:02X}",
        "URL": f"https://example.com/{number % 16**LETTERS:012x}",
        "USERNAME": f"username_{number % 10**9}",
    }
    return forms[kind]


_DIGITS_ONLY = frozenset(("CREDIT_CARD", "IBAN", "NATIONAL_ID", "IMEI", "MAC_ADDRESS", "PHONE"))


def same(kind: str, value: str) -> str:
    """What two spellings of one value have in common: upper and lower case, separators of numbers."""
    value = value.casefold()
    return re.sub(r"[^0-9a-z+]", "", value) if kind in _DIGITS_ONLY else " ".join(value.split())


def digest(key: bytes, kind: str, value: str) -> int:
    """64 bits of HMAC-SHA256 over kind and value."""
    mac = hmac.new(key, f"{kind}\0{same(kind, value)}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    return int.from_bytes(mac.digest()[:8], "big")


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """A typed placeholder with 48 bits of the keyed hash: `<PERSON_3f2a9c01d4e5>`."""
    return f"<{kind}_{digest(key, kind, value) >> 16:0{LETTERS}x}>"


# --- recognising them

_KIND_NAMES = "|".join(sorted(KINDS, key=len, reverse=True))
_PLACEHOLDER = re.compile(rf"<(?:{_KIND_NAMES})(?:_[0-9a-f]{{{LETTERS}}})?>".encode())
# (literal, bytes of the replacement before the literal, the whole replacement)
_SHAPES: tuple[tuple[bytes, int, re.Pattern[bytes]], ...] = (
    *((placeholder[:-1].encode(), 0, _PLACEHOLDER) for placeholder in PLACEHOLDERS.values()),
    (b"@example.com", 17, re.compile(rb"user-[0-9a-f]{12}@example\.com(?!\w|-+\w)")),
    *((f"{net}.".encode(), 0, re.compile(re.escape(net).encode() + rb"\.\d{1,3}(?!\d|\.\d)")) for net in _TEST_NETS),
    (b"2001:db8:", 0, re.compile(rb"2001:db8:(?:[0-9a-f]{1,4}:){4}:1(?![\w:])")),
    (b"-555-01", 6, re.compile(rb"\+1-\d{3}-555-01\d\d(?!\d)")),
    (b"0000-0000-", 0, re.compile(rb"0000-0000-\d{4}-\d{4}(?!\d)")),
    (b"XX00", 0, re.compile(rb"XX00\d{16}(?!\d)")),
    (b"000-00-", 0, re.compile(rb"000-00-\d{4}(?!\d)")),
    (b"00-100000-", 0, re.compile(rb"00-100000-\d{6}-\d(?!\d)")),
    (b"00-00-5E-00-53-", 0, re.compile(rb"00-00-5E-00-53-[0-9A-F]{2}(?![0-9A-Fa-f])")),
    (b"://example.com/", 5, re.compile(rb"https://example\.com/[0-9a-f]{12}(?![\w/?#])")),
    (b"rname_", 3, re.compile(rb"username_\d{1,9}(?![\w])")),
)
LITERALS: tuple[bytes, ...] = tuple(literal for literal, _, _ in _SHAPES)


def walls(data: bytes, hits: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """[start, end) of the replacements of an earlier redaction; hits are (position, index) of LITERALS in `data`."""
    for at, which in hits:
        _, before, pattern = _SHAPES[which]
        start = at - before
        if start < 0:
            continue
        match = pattern.match(data, start)
        if match is None:
            continue
        if data[start] != 0x3C and start > 0 and (data[start - 1 : start].isalnum() or data[start - 1] in b"_."):
            continue
        yield match.span()
