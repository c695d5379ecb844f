"""Exact checks of the candidates that the scan finds: addresses, cards, account numbers.

All take bytes of one document and byte positions, look at a bounded number of bytes, and return None or a
`Span` in bytes.  `lo` and `hi` bound the document inside the buffer.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from importlib import resources

import numpy as np

from pii.kinds import Span
from pii.scan import WALL

_WALL = bytes([WALL])

# --- e-mail
# ------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb"\A(?:u00[0-9a-fA-F]{2}|x[0-9a-fA-F]{2}|[abfnrtv0])")
_LABEL = re.compile(rb"(?!-)[^.\x00-\x2c/:-@\[-`{-\x7f]{1,63}(?<!-)")


@cache
def top_level_domains() -> frozenset[bytes]:
    """Labels of the DNS root zone, lower case; without them every `a@b.method` of a program would be an
    address."""
    text = resources.files("pii").joinpath("data/tlds.txt").read_text(encoding="ascii")
    return frozenset(line.encode() for line in text.splitlines() if line and not line.startswith("#"))


def email(buf: bytes, start: int, end: int, at: int, lo: int, hi: int) -> Span | None:
    """An address local@domain whose last label is a top-level domain.

    Not one: the user part of `git@host:path`; a matrix product that is called (`a@b.to(x)`); what touches a
    redaction.  The password and host of `scheme://user:password@host` are no address either (see `pii.keys`).
    """
    if lo < start and buf[start - 1] == 0x5C:  # an escape such as \n or \u003c glued to the address
        escape = _ESCAPE.match(buf[start:at])
        if escape:
            start += escape.end()
    local = buf[start:at]
    doubled = local.rfind(b"..")
    if doubled >= 0:
        start += doubled + 2
    while start < at and buf[start] in b".-+%":
        start += 1
    if start == at or buf[at - 1] == 0x2E:
        return None
    before = buf[start - 1] if start > lo else 32
    if before in b"@" or buf[max(lo, start - 4) : start].rstrip(b".-+%_")[-1:] == _WALL:
        return None
    domain = buf[at + 1 : end]
    while domain and domain[-1] in b".-":
        domain = domain[:-1]
    labels = domain.split(b".")
    known = top_level_domains()
    if labels[-1].lower() not in known and len(labels) > 2 and labels[-1][:1].isupper():
        labels.pop()  # "ann@example.com.Then" at the end of a sentence
    if len(labels) < 2 or labels[-1].lower() not in known:
        return None
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    end = at + 1 + sum(map(len, labels)) + len(labels) - 1
    after = buf[end] if end < hi else 32
    if after in b"_@(" or buf[end : min(hi, end + 4)].lstrip(b".-")[:1] == _WALL:
        return None
    if after == 0x3A and local == b"git":
        return None
    if domain.lower().startswith(b"openssh.com") or domain.lower().startswith(b"libssh.org"):
        return None  # names of algorithms: sk-ssh-ed25519@openssh.com
    if before == 0x3A and url_password(buf, start, lo) is not None:
        return None
    return Span(start, end, "EMAIL", 1.0)


def url_password(buf: bytes, start: int, lo: int) -> int | None:
    """Where the scheme's `//` stands if [start:'@'] is the password of `scheme://user:password@host`, else
    None."""
    head = buf[max(lo, start - 80) : start]
    slashes = head.rfind(b"://")
    if slashes < 0:
        return None
    user = head[slashes + 3 : -1]
    if re.search(rb"[\s/@:'\"<>\x01]", user):
        return None
    return start - len(head) + slashes


# --- IP addresses
# ------------------------------------------------------------------------------------------------

# Public resolvers that name nobody; the list of bigcode-dataset pii/ (see also Quad9, OpenDNS, AdGuard).
RESOLVERS = frozenset(
    """8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 76.76.19.19 76.223.122.150 9.9.9.9 149.112.112.112 208.67.222.222
    208.67.220.220 8.26.56.26 8.20.247.20 94.140.14.14 94.140.15.15 2001:4860:4860::8888 2001:4860:4860::8844
    2606:4700:4700::1111 2606:4700:4700::1001 2620:fe::fe 2620:fe::9""".split()
)
# IANA special-purpose registries (RFC 6890 and updates); kept here and not read from `ipaddress.is_global`,
# whose answer differs between Python versions.
_SPECIAL_V4 = [
    ipaddress.IPv4Network(block)
    for block in """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
    240.0.0.0/4""".split()
]
_SPECIAL_V6 = [
    ipaddress.IPv6Network(block)
    for block in """::/96 100::/64 2001:2::/48 2001:10::/28 2001:20::/28 2001:db8::/32 3fff::/20 fc00::/7
    fe80::/10 fec0::/10 ff00::/8""".split()
]
_V4_RANGES = [(int(n.network_address), int(n.broadcast_address)) for n in _SPECIAL_V4]
_V6_RANGES = [(int(n.network_address), int(n.broadcast_address)) for n in _SPECIAL_V6]
_VERSION_BEFORE = re.compile(
    rb"(?<![A-Za-z])(?:versions?|vers|ver|v|releases?|rel|rev|revision|build|firmware|upgraded?|updated?|java|jdk|section|posix|rfc|iso|"
    rb"chapter|clause|appendix|figure|table|oid)[\s:=\"'(._]{0,4}\Z",
    re.IGNORECASE,
)
_COMPARED = re.compile(rb"(?:[=~<>!]=|[~^<>])\s{0,2}[\"']?\Z")
# A number or a redaction beside the candidate; group 1 where that number is a dotted quad itself.
_LISTED_BEFORE = re.compile(
    rb"(?:(?<![0-9.])([0-9]{1,3}(?:\.[0-9]{1,3}){3})|[0-9.a-zA-Z\x01]),\Z"
    rb"|(?:(?<![0-9.])([0-9]{1,3}(?:\.[0-9]{1,3}){3})|[0-9\x01])[ ]\Z"
)
_LISTED_AFTER = re.compile(rb"[, ](?:([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![0-9.]*[0-9])|[-.0-9\x01])")
_ADDRESS_NEAR = re.compile(
    rb"\b(?:ip|ips|ipv4|ipaddr|addr|address|addresses|hosts?|hostname|server|dns|nameserver|gateway|ping|ssh|"
    rb"subnet|netmask|router|proxy|remote|client|peer|connect|connected|blocked|listen|bind|from)\b|://\Z|_ip\b|_addr",
    re.IGNORECASE,
)
# One of these is in every match of the expression above; the search for them is ten times faster.
_ADDRESS_WORDS = (
    b"ip",
    b"addr",
    b"host",
    b"server",
    b"dns",
    b"gateway",
    b"ping",
    b"ssh",
    b"net",
    b"router",
    b"proxy",
    b"remote",
    b"client",
    b"peer",
    b"connect",
    b"block",
    b"listen",
    b"bind",
    b"from",
    b"://",
)
MAX_CONTEXT = 64  # bytes of the same line looked at to the left


def left_context(buf: bytes, start: int, lo: int, size: int = MAX_CONTEXT) -> bytes:
    """Up to `size` bytes before `start`, on the same line and after the last redaction.

    What a redaction touches is no word of its own: an underscore stands for the redaction.
    """
    head = buf[max(lo, start - size) : start]
    cut = max(head.rfind(b"\n"), head.rfind(b"\r"), head.rfind(_WALL))
    return (b"_" if cut >= 0 and head[cut] == WALL else b"") + head[cut + 1 :]


def ipv4(buf: bytes, start: int, end: int, lo: int, hi: int) -> Span | None:
    """A public IPv4 address in dotted form; not a version, an object id, a section number or part of a file
    name.

    Four groups below 30, or three below 10 and a build number, look like a version and need a word such as host, ip,
    dns or server to the left.
    """
    before = buf[start - 1] if start > lo else 32
    if before in b"-+" or before == 0x2F and not buf[max(lo, start - 2) : start] == b"//":
        return None
    if end + 1 < hi and buf[end] in b"-+" and (buf[end + 1 : end + 2].isalnum() or buf[end + 1] == WALL):
        return None
    octets = [int(part) for part in buf[start:end].split(b".")]
    number = octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]
    if any(low <= number <= high for low, high in _V4_RANGES):
        return None
    if buf[start:end].decode() in RESOLVERS:
        return None
    head = left_context(buf, start, lo)
    beside = buf[max(lo, start - 17) : start]
    lowered = head.lower()
    near = any(word in lowered for word in _ADDRESS_WORDS) and _ADDRESS_NEAR.search(head) is not None
    if _COMPARED.search(head) or _VERSION_BEFORE.search(head):
        return None
    if not near and (
        _listed(_LISTED_BEFORE.search(beside)) or _listed(_LISTED_AFTER.match(buf[end : min(hi, end + 20)]))
    ):
        return None  # numbers of a vector path or table run together: "1.41.39.39,5.2"
    if not near and (max(octets) < 30 or max(octets[:3]) < 10 or tuple(octets[:3]) in _OBJECT_IDS):
        return None
    return Span(start, end, "IP_ADDRESS", 0.95 if near else 0.85)


_OBJECT_IDS = frozenset(((2, 5, 4), (2, 5, 29), (1, 3, 6)))  # arcs of X.500 and of the Internet (ITU-T X.660)


def _listed(match: re.Match[bytes] | None) -> bool:
    return match is not None and not any(match.groups())


def ipv6(buf: bytes, start: int, end: int, lo: int, hi: int) -> Span | None:
    """A public IPv6 address: all eight groups, or a `::` form inside 2000::/3, or an IPv4-mapped public
    address.

    C++ and Rust paths, MAC addresses, EUI-64, fingerprints and clock times have colons too and are none.
    """
    while end > start and buf[end - 1] in b".:" and not buf[start:end].endswith(b"::"):
        end -= 1
    text = buf[start:end]
    try:
        address = ipaddress.IPv6Address(text.decode("ascii"))
    except ValueError:
        return None
    if end < hi and (buf[end] == WALL or buf[end : end + 1].isalnum()):
        return None
    number = int(address)
    if address.ipv4_mapped is not None:
        inner = int(address.ipv4_mapped)
        if any(low <= inner <= high for low, high in _V4_RANGES):
            return None
        return Span(start, end, "IP_ADDRESS", 0.95)
    if any(low <= number <= high for low, high in _V6_RANGES) or address.compressed in RESOLVERS:
        return None
    groups = text.split(b":")
    if b"::" not in text:
        if (
            all(len(group) == 2 for group in groups)
            or max(map(len, groups)) < 2
            or not any(re.search(rb"[0-9]", g) for g in groups)
        ):
            return None
        return Span(start, end, "IP_ADDRESS", 0.95)
    filled = [group for group in groups if group]
    if number >> 125 != 1 or len(filled) < 3 or len(filled[0]) != 4:
        return None
    return Span(start, end, "IP_ADDRESS", 0.9)


# --- cards
# -------------------------------------------------------------------------------------------------------

# Issuer prefixes and lengths: ISO/IEC 7812 ranges as the card schemes publish them.
# (first digits low, high, lengths)
ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),  # Mastercard, second range
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (300, 305, (14, 16)),  # Diners Club
    (3095, 3095, (14, 16)),
    (36, 36, (14, 16)),
    (38, 39, (14, 16)),
    (6011, 6011, (16, 19)),  # Discover
    (644, 659, (16, 19)),
    (622126, 622925, (16, 19)),
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (2131, 2131, (15,)),
    (1800, 1800, (15,)),
    (5018, 5018, (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5020, 5020, (12, 13, 14, 15, 16, 17, 18, 19)),
    (5038, 5038, (12, 13, 14, 15, 16, 17, 18, 19)),
    (5893, 5893, (12, 13, 14, 15, 16, 17, 18, 19)),
    (56, 58, (12, 13, 14, 15, 16, 17, 18, 19)),
    (630, 639, (12, 13, 14, 15, 16, 17, 18, 19)),
    (6759, 6763, (12, 13, 14, 15, 16, 17, 18, 19)),
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (2200, 2204, (16, 17, 18, 19)),  # Mir
)
_CARD_NEAR = re.compile(rb"\b(?:cards?|credit|debit|cc|visa|mastercard|amex|maestro|pan|ccnum\w*|card_\w+)\b", re.I)
_GROUPED = re.compile(r"\A(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})\Z")


# A bare integer that is an argument, a parameter or an element of a list is far more often an id than a card.
_ARGUMENT = re.compile(rb"(?:[=,(\[{]|\bid[\"']?[ ]?[:#])[ ]?[\"']?\Z", re.IGNORECASE)


_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice the digit, its own digits summed


def luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1 annex B)."""
    return (sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


def issued(digits: str) -> bool:
    """Whether some scheme issues cards with these first digits and this length."""
    for low, high, lengths in ISSUERS:
        if len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high:
            return True
    return False


def card(run: str, digits: str, start: int, context: bytes) -> Span | None:
    """A card number that is the whole run `run` (digits, or the groups printed on cards), valid by Luhn and
    issuer; `digits` are those of `run`.

    12 digits (Maestro), and arguments or list elements of a program, need a word such as card or cc to the
    left: one integer in ten passes Luhn.
    """
    if not 12 <= len(digits) <= 19 or len(set(digits)) < 2 or not (issued(digits) and luhn(digits)):
        return None
    near = _CARD_NEAR.search(context) is not None
    if digits.endswith("0000") and not near:
        return None  # a constant
    if len(run) != len(digits):
        if not _GROUPED.match(run):
            return None
        return Span(start, start + len(run), "CREDIT_CARD", 0.95)
    if near:
        return Span(start, start + len(run), "CREDIT_CARD", 1.0)
    if len(digits) == 12 or _ARGUMENT.search(context):
        return None
    return Span(start, start + len(run), "CREDIT_CARD", 0.6)


# --- IBAN
# --------------------------------------------------------------------------------------------------------

# Structures of the IBAN registry (ISO 13616): a letters, n digits, c letters or digits, after country and
# check.
IBAN_STRUCTURES: dict[str, str] = dict(
    entry.split(":")
    for entry in """AD:8n12c AE:19n AL:8n16c AT:16n AZ:4a20c BA:16n BE:12n BG:4a6n8c BH:4a14c BI:23n
    BR:23n1a1c BY:4c4n16c
    CH:5n12c CR:18n CY:8n16c CZ:20n DE:18n DJ:23n DK:14n DO:4c20n EE:16n EG:25n ES:20n FI:14n FK:2a12n FO:14n
    FR:10n11c2n GB:4a14n GE:2a16n GI:4a15c GL:14n GR:7n16c GT:4c20c HR:17n HU:24n IE:4a14n IL:19n IQ:4a15n
    IS:22n
    IT:1a10n12c JO:4a4n18c KW:4a22c KZ:3n13c LB:4n20c LC:4a24c LI:5n12c LT:16n LU:3n13c LV:4a13c LY:21n
    MC:10n11c2n MD:2c18c ME:18n MK:3n10c2n MN:16n MR:23n MT:4a5n18c MU:4a19n3a NI:4a20n NL:4a10n NO:11n
    OM:3n16c
    PK:4a16c PL:24n PS:4a21c PT:21n QA:4a21c RO:4a16c RS:18n RU:14n15c SA:2n18c SC:4a20n3a SD:14n SE:20n
    SI:15n
    SK:20n SM:1a10n12c SO:19n ST:21n SV:4a20n TL:19n TN:20n TR:5n1c16c UA:6n19c VA:18n VG:4a16n XK:16n
    YE:4a4n18c""".split()
)
_CLASS = {"a": "[A-Z]", "n": "[0-9]", "c": "[A-Z0-9]"}
_PARTS = re.compile(r"(\d+)([anc])")
_IBAN_REGEX = {
    country: re.compile(
        country + "[0-9]{2}" + "".join(f"{_CLASS[kind]}{{{count}}}" for count, kind in _PARTS.findall(structure))
    )
    for country, structure in IBAN_STRUCTURES.items()
}


def iban_lengths() -> np.ndarray:
    """[676] int64: characters of an IBAN by country (26 * first + second letter), 0 where there is none."""
    table = np.zeros(676, dtype=np.int64)
    for country, structure in IBAN_STRUCTURES.items():
        length = 4 + sum(int(count) for count, _ in _PARTS.findall(structure))
        table[(ord(country[0]) - 65) * 26 + ord(country[1]) - 65] = length
    return table


def iban(buf: bytes, start: int, end: int, lo: int, hi: int) -> Span | None:
    """An account number with its country's structure and ISO 7064 mod 97-10 check; lower case only
    unspaced."""
    raw = buf[start:end]
    plain = raw.replace(b" ", b"").replace(b"-", b"").decode("ascii")
    if len(plain) != len(raw):
        separators = {byte for byte in raw if byte in b" -"}
        groups = re.split(rb"[ -]", raw)
        if len(separators) != 1 or any(len(group) != 4 for group in groups[:-1]) or plain != plain.upper():
            return None
    if plain not in (plain.upper(), plain.lower()):
        return None
    plain = plain.upper()
    if not _IBAN_REGEX[plain[:2]].fullmatch(plain):
        return None
    rotated = plain[4:] + plain[:4]
    if int("".join(str(int(c, 36)) for c in rotated)) % 97 != 1:
        return None
    before = buf[start - 1] if start > lo else 32
    after = buf[end] if end < hi else 32
    if before in b"-/+=%@" or after in b"-/+=%@" or before == WALL or after == WALL:
        if before not in b"=" or after in b"-/+=%@":
            return None
    return Span(start, end, "IBAN", 1.0)
