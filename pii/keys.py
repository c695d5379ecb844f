"""Keys and other secrets: known formats, private-key blocks, passwords in URLs, values assigned to telling
names."""

from __future__ import annotations

import math
import re
from collections import Counter

from pii.checks import url_password
from pii.kinds import Span
from pii.scan import WALL

# (literal that begins every key of the format, pattern).  Formats as their issuers document them; the literal
# is searched for by one pass over the bytes (`scan.Literals`); ordinary text meets no regular expression.
# Every pattern is anchored, has no nested repetition and a bounded length.
FORMATS: tuple[tuple[bytes, re.Pattern[bytes]], ...] = tuple(
    (literal, re.compile(pattern))
    for literal, pattern in (
        (b"AKIA", rb"AKIA[A-Z0-9]{16}"),  # AWS access key id, long-lived
        (b"ASIA", rb"ASIA[A-Z0-9]{16}"),  # AWS access key id, temporary
        (b"ghp_", rb"ghp_[A-Za-z0-9]{36,255}"),  # GitHub personal
        (b"gho_", rb"gho_[A-Za-z0-9]{36,255}"),  # GitHub OAuth
        (b"ghu_", rb"ghu_[A-Za-z0-9]{36,255}"),  # GitHub app user
        (b"ghs_", rb"ghs_[A-Za-z0-9]{36,255}"),  # GitHub app server
        (b"ghr_", rb"ghr_[A-Za-z0-9]{36,255}"),  # GitHub refresh
        (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{22,255}"),
        (b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,64}"),  # GitLab
        (b"xox", rb"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),  # Slack
        (
            b"hooks.slack.com/services/",
            rb"hooks\.slack\.com/services/T[A-Z0-9]{5,12}/B[A-Z0-9]{5,12}/[A-Za-z0-9]{20,30}",
        ),
        (b"sk_live_", rb"sk_live_[A-Za-z0-9]{16,247}"),  # Stripe
        (b"sk_test_", rb"sk_test_[A-Za-z0-9]{16,247}"),
        (b"rk_live_", rb"rk_live_[A-Za-z0-9]{16,247}"),
        (b"rk_test_", rb"rk_test_[A-Za-z0-9]{16,247}"),
        (b"whsec_", rb"whsec_[A-Za-z0-9+/=]{24,80}"),
        (b"AIza", rb"AIza[A-Za-z0-9_-]{35}"),  # Google API
        (b"GOCSPX-", rb"GOCSPX-[A-Za-z0-9_-]{28}"),  # Google OAuth client secret
        (b"ya29.", rb"ya29\.[A-Za-z0-9_-]{20,255}"),  # Google OAuth access
        (
            b"eyJ",
            rb"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{0,1024}",
        ),  # JSON web token
        (b"SG.", rb"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),  # SendGrid
        (b"npm_", rb"npm_[A-Za-z0-9]{36}"),
        (b"pypi-AgE", rb"pypi-AgE[A-Za-z0-9_-]{50,255}"),
        (b"sk-", rb"sk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,200}"),  # OpenAI, Anthropic
        (b"hf_", rb"hf_[A-Za-z0-9]{34,40}"),  # Hugging Face
        (b"dop_v1_", rb"dop_v1_[0-9a-f]{64}"),  # DigitalOcean
        (b"shpat_", rb"shpat_[0-9a-fA-F]{32}"),  # Shopify
        (b"SK", rb"SK[0-9a-f]{32}"),  # Twilio
        (b"-us", rb"-us\d{1,2}"),  # Mailchimp: 32 hex digits stand before the literal
        (b"-----BEGIN ", rb"-----BEGIN (?:[A-Z0-9]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    )
)
LITERALS: tuple[bytes, ...] = tuple(literal for literal, _ in FORMATS)
MAX_BLOCK = 16384  # bytes of a private-key block; an RSA key of 16,384 bits has 12.7 kB
_BASE64_LINE = re.compile(rb"(?:(?:\\r)?\\n|[\s\"'+,#/*;|>-]|[A-Za-z0-9+/=]{16,}|[A-Z][A-Za-z-]+: ?[^\n]{1,80})*")
_END = re.compile(rb"-----END (?:[A-Z0-9]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_HEX32 = re.compile(rb"[0-9a-f]{32}\Z")
_WORDLIKE = re.compile(rb"[A-Za-z0-9_]")


def known(buf: bytes, at: int, which: int, hi: int) -> Span | None:
    """The key of the format `which` whose literal stands at `at`, in a document that ends at `hi`."""
    literal, pattern = FORMATS[which]
    standalone = literal not in (b"-----BEGIN ", b"-us")
    if standalone and _word(buf, at - 1):
        return None
    match = pattern.match(buf, at, hi)
    if match is None:
        return None
    end = match.end()
    if literal == b"-----BEGIN ":
        close = _END.search(buf, end, min(hi, end + MAX_BLOCK))
        if close is not None:
            return Span(at, close.end(), "PRIVATE_KEY", 1.0)
        body = _BASE64_LINE.match(buf, end, min(hi, end + MAX_BLOCK))
        last = body.end() if body else end
        while last > end and buf[last - 1] in b" \t\r\n\"'+,#/*;|>-\\":
            last -= 1
        return Span(at, last, "PRIVATE_KEY", 1.0) if last - end >= 32 else None
    if literal == b"-us":
        head = _HEX32.search(buf, max(0, at - 32), at)
        if head is None or _word(buf, head.start() - 1) or _word(buf, end):
            return None
        return Span(head.start(), end, "KEY", 0.9)
    if _word(buf, end) or (literal == b"sk-" and at > 0 and buf[at - 1] in b"-."):
        return None
    value = match.group()
    if literal in (b"sk-", b"AKIA", b"ASIA", b"hf_") and not re.search(rb"\d", value):
        if literal != b"AKIA":
            return None
    if literal == b"sk-" and (value.count(b"-") > 6 or _entropy(value[3:]) < 3.5):
        return None
    return Span(at, end, "JWT" if literal == b"eyJ" else "KEY", 1.0)


def _word(buf: bytes, at: int) -> bool:
    return 0 <= at < len(buf) and (buf[at : at + 1].isalnum() or buf[at] == 0x5F or buf[at] == WALL)


def _entropy(value: bytes) -> float:
    """Shannon entropy in bits per character of the value's own letters."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


_STRONG = re.compile(
    rb"api_?-?key|apikey|access_?-?key|secret|passw(?:or)?d|passwd|passphrase|pwd|auth_?-?(?:key|token)|"
    rb"authorization|private_?-?key|client_?-?key|encryption_?-?key|account_?-?key|signing_?-?key|credential|"
    rb"(?:access|auth|bearer|refresh|bot|api|session|user|_|-|\.|\A)_?-?tokens?\Z",
    re.IGNORECASE,
)
_WEAK = re.compile(rb"(?:\A|[_.-])keys?\Z|(?<=[a-z])Key\Z|(?<=[a-z])Token\Z|\bauth\Z")
_PASSWORD = re.compile(rb"passw(?:or)?d|passwd|passphrase|pwd|pass\Z", re.IGNORECASE)
_NOT_SECRET = re.compile(
    rb"public|hash|sha\d|md5|digest|checksum|fingerprint|_url|_uri|path|file|foreign|primary|sort|cache|keyword|"
    rb"author(?!iz)|secretary|token(?:iz|s\b|_type|_id|_class|_count|_name)|key_?(?:id|name|type|code|words?|size)\b|"
    rb"keys\b|passed|passenger|pass_?through|site_?key|_?field\Z|_?label\Z|_?regex\Z|pattern|compass|keyboard|monkey|"
    rb"sections?|second|secur|version|etag|integrity",
    re.IGNORECASE,
)
_NAME = re.compile(rb"[A-Za-z0-9_.\x2d]{1,48}[\s\"'\]]{0,4}\Z")
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TEMPLATE = re.compile(
    rb"x{4,}|\*{3,}|\.{3,}|example|placeholder|changeme|change_me|your[_-]|insert|redacted|dummy|sample|foobar|"
    rb"\$[A-Za-z_{(]|%[sdr({]|^\$|^%|^#|^[./~]|://|https?$|\?|^--|^@",
    re.IGNORECASE,
)
_SEQUENCES = (
    b"abcdefghij",
    b"0123456789",
    b"1234567890",
    b"abcdef0123",
    b"qwertyui",
    b"aaaaaaaa",
    b"00000000",
)
_PLAIN_WORDS = re.compile(rb"[a-z]+|[A-Z][a-z]+|[A-Z]{2,}(?![a-z])|\d+|[^A-Za-z0-9]+")


def assigned(buf: bytes, start: int, end: int, anchor: int, lo: int, hi: int) -> Span | None:
    """A random-looking value assigned to a name that speaks of a secret: `api_key = "..."`, `token: ...`.

    Random-looking: not a path, template, identifier, UUID or run of the alphabet; Shannon entropy of at least
    3 bits a character (hexadecimal of 32 and more digits: 2.8), and letters and digits mixed so that the
    value does not split into words.  Passwords may be as short as 8 characters but must stand in quotes, or
    mix three of lower case, upper case, digits and signs.
    """
    head = buf[max(lo, anchor - 56) : anchor]
    name_match = _NAME.search(head)
    if name_match is None:
        return None
    name = name_match.group().rstrip(b" \t\"']")
    value = buf[start:end]
    if name_match.start() == 0 and len(head) == 56:
        name = name[-48:]
    if _NOT_SECRET.search(name) or anchor > lo and buf[anchor - 1] in b"!<>=+-*/%&|^:":
        return None
    if anchor + 1 < hi and buf[anchor + 1] in b"=:":
        return None
    quoted = buf[start - 1] in b"\"'`" and end < hi and buf[end] == buf[start - 1]
    after = buf[end] if end < hi else 32
    if not quoted and (after in b"([{<_\\:@\"'`" or after == WALL or after >= 0x80):
        return None
    if not quoted:
        value = re.split(rb"[&#?]", value, maxsplit=1)[0].rstrip(b".!")  # a query string goes on behind '&'
        end = start + len(value)
    if len(value) < 8 or _UUID.fullmatch(value) or _TEMPLATE.search(value):
        return None
    lower = value.lower()
    if any(sequence in lower for sequence in _SEQUENCES):
        return None
    if _PASSWORD.search(name):
        classes = sum(bool(re.search(pattern, value)) for pattern in (rb"[a-z]", rb"[A-Z]", rb"\d", rb"[^A-Za-z0-9]"))
        if len(value) <= 128 and (classes >= 3 or (quoted and classes >= 2 and _entropy(value) >= 2.75)):
            if quoted or (classes >= 3 and b"." not in value and b"/" not in value):
                return Span(start, end, "PASSWORD", 0.7)
        return None
    strong = _STRONG.search(name) is not None
    if not strong and not _WEAK.search(name):
        return None
    hexadecimal = re.fullmatch(rb"[0-9a-fA-F]+", value) is not None
    if hexadecimal:
        if not strong or len(value) < 32 or len(value) % 2 or _entropy(value) < 2.8:
            return None
        return Span(start, end, "KEY", 0.7)
    if len(value) < (16 if strong else 20) or not re.fullmatch(rb"[A-Za-z0-9_+/.=~!#$%^&*@-]+", value):
        return None
    entropy = _entropy(value)
    pieces = _PLAIN_WORDS.findall(value)
    letters_digits = [piece for piece in pieces if piece[:1].isalnum()]
    # Words are long pieces, random strings short ones; base64 of random bytes averages 1.5 characters a
    # piece.
    if entropy < (3.0 if strong else 3.5) or len(value) / max(1, len(letters_digits)) > 4.0:
        return None
    if sum(piece.isdigit() for piece in letters_digits) < 2:
        return None
    if not quoted and value.count(b".") > 2:
        return None
    return Span(start, end, "KEY", 0.8 if strong else 0.6)


def password_in_url(buf: bytes, start: int, at: int, lo: int, hi: int) -> Span | None:
    """The password of `scheme://user:password@host`, for the candidate whose '@' is at `at`; placeholders are
    none."""
    head = buf[max(lo, at - 64) : at]
    colon = head.rfind(b":")
    if colon < 0 or len(head) - colon < 5:
        return None
    begin = at - len(head) + colon + 1
    value = buf[begin:at]
    if re.search(rb"[\s/\"'<>{}$*\x01@()]", value) or url_password(buf, begin, lo) is None:
        return None
    if value.lower() in _COMMON_PASSWORDS or at + 1 >= hi or not _WORDLIKE.match(buf[at + 1 : at + 2]):
        return None
    return Span(begin, at, "PASSWORD", 0.8)


_COMMON_PASSWORDS = frozenset(
    b"pass passwd password secret token user username test pass123 mypassword yourpassword your_password".split()
)
