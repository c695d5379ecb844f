"""Numbers of devices and places: MAC addresses, IMEI, positions; and URLs."""

from __future__ import annotations

import re

from pii.checks import luhn
from pii.kinds import Span
from pii.scan import WALL

_MAC_NEAR = re.compile(
    rb"\b(?:mac|ether(?:net)?|hwaddr|hw_?addr\w*|lladdr|bssid|physical|bluetooth|wifi|wlan|link/ether|arp)\b",
    re.IGNORECASE,
)


def mac(buf: bytes, start: int, end: int, context: bytes) -> Span | None:
    """A universally administered unicast address of 48 bits.

    None is: broadcast and multicast, all zeros, the documentation range of RFC 7042 (00-00-5E-00-53), hyphens or dots
    around six pairs of decimal digits alone unless the line says MAC (dates, serial numbers).
    """
    text = buf[start:end]
    digits = bytes(c for c in text if c not in b":-.").lower()
    first = int(digits[:2], 16)
    if first & 1 or len(set(digits)) < 3 or digits.startswith(b"00005e0053"):
        return None
    near = _MAC_NEAR.search(context) is not None
    if digits.isdigit() and b":" not in text and not near:
        return None
    if b"." in text and not near and not re.search(rb"[a-f]", digits):
        return None
    locally = bool(first & 2)  # chosen by software: virtual machines, private Wi-Fi
    return Span(start, end, "MAC_ADDRESS", 0.95 if near else 0.6 if locally or b"." in text else 0.8)


_IMEI_NEAR = re.compile(rb"\bimei(?:sv)?\b", re.IGNORECASE)
_IMEI_FORM = re.compile(r"\A\d{2}[- ]\d{6}[- ]\d{6}[- ]\d\Z")
# Reporting body identifiers that give out type allocation codes (GSMA TS.06 annex A).
_REPORTERS = frozenset("01 10 30 33 35 44 45 49 50 51 52 53 54 86 91 98 99".split())


def imei(run: str, digits: str, start: int, context: bytes) -> Span | None:
    """15 digits with a Luhn check (3GPP TS 23.003), or 16 of an IMEISV, named or printed as such; `digits` are those of
    `run`."""
    if len(digits) not in (15, 16) or len(set(digits)) < 3:
        return None
    near = _IMEI_NEAR.search(context) is not None
    printed = _IMEI_FORM.match(run) is not None
    if len(digits) == 16:
        return Span(start, start + len(run), "IMEI", 0.9) if near and digits[:2] in _REPORTERS else None
    if not luhn(digits) or not (near or printed and digits[:2] in _REPORTERS):
        return None
    return Span(start, start + len(run), "IMEI", 0.95 if near else 0.7)


_GPS_NEAR = re.compile(
    rb"\b(?:gps|lat|latitude|lon|long|longitude|latlng|latlon|lng|coords?|coordinates?|geo|geolocation|wgs ?84|s?ll)\b"
    rb"|/@\Z",
    re.IGNORECASE,
)
_GPS_AFTER = re.compile(rb"\A\s?[NSEW]\b|\A\s?,\s?-?\d")


def gps(buf: bytes, start: int, end: int, lo: int, hi: int, context: bytes) -> Span | None:
    """Two decimals, |latitude| <= 90 and |longitude| <= 180, on a line that speaks of a place.

    Confidence grows with the digits: four decimals are 11 m.  A third number beside them makes a table.
    """
    first, second = re.findall(rb"[-+]?\d+\.\d+", buf[start:end])
    if abs(float(first)) > 90 or abs(float(second)) > 180:
        return None
    after = buf[end : min(hi, end + 8)]
    if _GPS_AFTER.match(after) and b"," in after[:2] and not re.match(rb",\d{1,2}(?:\.\d+)?z", after):
        return None
    before = buf[max(lo, start - 3) : start]
    if re.search(rb"[0-9][,; ]{1,2}\Z", before) or before[-1:] in (b".", b"_", bytes([WALL])):
        return None
    near = _GPS_NEAR.search(context) is not None
    places = min(len(first.split(b".")[1]), len(second.split(b".")[1]))
    if near:
        return Span(start, end, "GPS", 0.9 if places >= 4 else 0.6)
    return Span(start, end, "GPS", 0.4) if places >= 5 else None


_DEGREE = rb"(?:\xc2\xb0|\xc2\xba|&deg;)"
_SEXAGESIMAL = re.compile(
    rb"(\d{1,3})" + _DEGREE + rb"[ ]?(?:(\d{1,2}(?:\.\d+)?)(?:'|\xe2\x80\xb2|\xe2\x80\x99)[ ]?)?"
    rb"(?:(\d{1,2}(?:\.\d+)?)(?:\"|\xe2\x80\xb3|\xe2\x80\x9d|''|\xe2\x80\x99\xe2\x80\x99)[ ]?)?([NSEW])\b"
)
_BETWEEN = re.compile(rb"\A(?:[ ,;/]|\xc2\xa0){0,4}")


def degrees(buf: bytes, at: int) -> Span | None:
    """`40°26'46"N 79°58'56"W` around the degree sign at byte `at`; the second half is looked for behind it."""
    start = at
    while start > 0 and at - start < 3 and buf[start - 1 : start].isdigit():
        start -= 1
    if start == at or start > 0 and (buf[start - 1 : start].isalnum() or buf[start - 1] in b".\x01"):
        return None
    first = _SEXAGESIMAL.match(buf, start, start + 48)
    if first is None or first.group(4) not in b"NS" or int(first.group(1)) > 90:
        return None
    gap = _BETWEEN.match(buf[first.end() : first.end() + 8])
    second = _SEXAGESIMAL.match(buf, first.end() + (gap.end() if gap else 0), first.end() + 56)
    if second is None or second.group(4) not in b"EW" or int(second.group(1)) > 180:
        return None
    if first.group(2) is None or second.group(2) is None:
        return None
    return Span(start, second.end(), "GPS", 0.95)


# --- URLs

_SCHEMES = frozenset(
    b"http https ftp ftps sftp ssh git ws wss file rtsp smb svn ldap ldaps redis postgres mysql".split()
)


def link(buf: bytes, start: int, end: int, anchor: int) -> Span | None:
    """`scheme://host...` with a known scheme and a host of at least two labels, an address or localhost."""
    if (
        buf[start:anchor].lower() not in _SCHEMES
        or start > 0
        and (buf[start - 1 : start].isalnum() or buf[start - 1] == WALL)
    ):
        return None
    rest = buf[anchor + 3 : end]
    host = re.split(rb"[/?#]", rest, maxsplit=1)[0].rsplit(b"@", 1)[-1]
    if b"." not in host.strip(b".") and host[:1] != b"[" or not re.search(rb"[A-Za-z0-9]", host) or WALL in rest:
        return None
    if rest.count(b"(") > rest.count(b")") and buf[end : end + 1] == b")":  # .../Apache_(software)
        end += 1
    return Span(start, end, "URL", 1.0)


def host(buf: bytes, start: int, end: int, hi: int) -> Span | None:
    """A bare host name, with its path; `www.` or a generic top-level domain says that it is one."""
    name = buf[start:end]
    if buf[end : end + 1] in (b"(", b"@", b"_", b"=") or WALL in buf[end : end + 1]:
        return None
    labels = name.split(b".")
    if b"_" in name or b".-" in name or b"-." in name or b".." in name or not name.strip(b".-") == name:
        return None
    if max(map(len, labels)) > 63:
        return None
    www = name[:4].lower() == b"www."
    if not www and (
        labels[-1] not in (labels[-1].lower(), labels[-1].upper()) or start > 0 and buf[start - 1] in b"/\\$%#&-_"
    ):
        return None
    match = re.compile(rb"(?::\d{2,5})?/[^\s\"'<>`{}|\\\x01]{0,1024}").match(buf, end, hi)
    if match:
        end = match.end()
        while buf[end - 1] in b".,;:!?'*)]":
            end -= 1
    return Span(start, end, "URL", 0.95 if www else 0.7)
