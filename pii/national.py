"""National identity numbers with their check digits, by country.

A number whose printed form and check digits leave little to chance stands alone; bare digits need the number's name
to the left on the same line, since one integer in ten passes a check of one digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from pii.checks import luhn
from pii.kinds import Span

KIND = "NATIONAL_ID"

# --- check digits


def weighted(digits: str, weights: tuple[int, ...], modulus: int) -> int:
    """Sum of digit * weight over the leading digits, modulo `modulus`."""
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False)) % modulus


def mod_11_10(digits: str) -> bool:
    """ISO 7064 hybrid system mod 11,10."""
    state = 10
    for digit in digits[:-1]:
        state = (state + int(digit)) % 10 or 10
        state = state * 2 % 11
    return (11 - state) % 10 == int(digits[-1])


_VERHOEFF = (
    "0123456789 1234067895 2340178956 3401289567 4012395678 5987604321 6598710432 7659821043 8765932104 9876543210"
).split()
_VERHOEFF_TURNS = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def verhoeff(digits: str) -> bool:
    """J. Verhoeff, Error detecting decimal codes (1969): the dihedral group of order 10."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = int(_VERHOEFF[state][int(_VERHOEFF_TURNS[place % 8][int(digit)])])
    return state == 0


def born(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _birthday(digits: str, order: str = "ymd") -> bool:
    """Whether six digits are a day of some century, years first or last."""
    a, b, c = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    return born(2000 + a, b, c) if order == "ymd" else born(2000 + c, b, a)


# --- countries.  Each takes the number without separators.


def _us(n: str) -> bool:  # Social Security Administration: areas, groups and serials never given out; specimen
    return n[:3] not in ("000", "666") and n[0] != "9" and n[3:5] != "00" and n[5:] != "0000" and n not in _SPECIMEN


_SPECIMEN = ("078051120", "219099999", "123456789", "987654321", "111111111", "111223333", "123121234")


def _gb_nino(n: str) -> bool:  # HMRC NIM39110
    return n[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _gb_nhs(n: str) -> bool:
    return (11 - weighted(n, tuple(range(10, 1, -1)), 11)) % 11 == int(n[9])


def _de(n: str) -> bool:  # Steuer-Identifikationsnummer, § 139b AO: one digit twice or thrice among the first ten
    counts = sorted(n[:10].count(d) for d in set(n[:10]))
    return n[0] != "0" and counts[-1] in (2, 3) and counts[:-1].count(1) == len(counts) - 1 and mod_11_10(n)


def _fr(n: str) -> bool:  # NIR of INSEE
    month = int(n[3:5])
    return (
        n[0] in "12" and (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(n[:13]) % 97 == int(n[13:])
    )


_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def _es(n: str) -> bool:  # DNI, and NIE whose X, Y, Z count as 0, 1, 2
    number = ("XYZ".index(n[0]), n[1:8]) if n[0] in "XYZ" else (0, n[:8])
    return n[-1] == _DNI[int(f"{number[0]}{number[1]}") % 23]


_CF_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
        )
        + (22, 25, 24, 23),
        strict=True,
    )
)


def _it(n: str) -> bool:  # codice fiscale, D.M. 23 dicembre 1976
    total = 0
    for place, character in enumerate(n[:15]):
        total += (
            _CF_ODD[character] if place % 2 == 0 else int(character) if character.isdigit() else ord(character) - 65
        )
    return chr(65 + total % 26) == n[15]


def _nl(n: str) -> bool:  # burgerservicenummer: the eleven test
    return (weighted(n, (9, 8, 7, 6, 5, 4, 3, 2), 11) - int(n[8])) % 11 == 0 and n != "000000000"


def _be(n: str) -> bool:
    return int(n[2:4]) % 20 <= 12 and int(n[9:]) in (97 - int(n[:9]) % 97, 97 - int("2" + n[:9]) % 97)


def _pt(n: str) -> bool:
    check = 11 - weighted(n, (9, 8, 7, 6, 5, 4, 3, 2), 11)
    return n[0] in "12356789" and int(n[8]) == (0 if check > 9 else check)


def _pl(n: str) -> bool:  # PESEL; the month carries the century
    month = int(n[2:4]) % 20
    return born(2000 + int(n[:2]), month, min(int(n[4:6]), 31)) and (
        10 - weighted(n, (1, 3, 7, 9) * 2 + (1, 3), 10)
    ) % 10 == int(n[10])


def _se(n: str) -> bool:  # personnummer; 60 is added to the day of a coordination number
    n = n[-10:]
    day = int(n[4:6]) - 60 * (int(n[4:6]) > 60)
    return born(2000 + int(n[:2]), int(n[2:4]), day) and luhn(n)


def _fi(n: str) -> bool:  # henkilötunnus
    return _birthday(n[:6], "dmy") and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(n[:6] + n[7:10]) % 31] == n[10]


def _no(n: str) -> bool:  # fødselsnummer and D-nummer
    day = int(n[:2]) - 40 * (int(n[:2]) > 40)
    first = (11 - weighted(n, (3, 7, 6, 1, 8, 9, 4, 5, 2), 11)) % 11
    second = (11 - weighted(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11)) % 11
    return born(2000 + int(n[4:6]), int(n[2:4]), day) and n[9:] == f"{first}{second}"


def _dk(n: str) -> bool:  # CPR; numbers given since 2007 need not pass
    return _birthday(n, "dmy") and weighted(n, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1), 11) == 0


def _cz(n: str) -> bool:  # rodné číslo: 50 or 20 is added to the month
    month = int(n[2:4])
    month -= 50 * (month > 50)
    month -= 20 * (month > 20)
    return born(2000 + int(n[:2]), month, int(n[4:6])) and int(n) % 11 == 0


def _br(n: str) -> bool:  # CPF
    first = weighted(n, tuple(range(10, 1, -1)), 11)
    second = weighted(n, tuple(range(11, 1, -1)), 11)
    return len(set(n)) > 1 and n[9:] == f"{11 - first if first > 1 else 0}{11 - second if second > 1 else 0}"


def _ca(n: str) -> bool:
    return n[0] not in "08" and luhn(n)


def _au(n: str) -> bool:
    return weighted(n, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11) == 0


def _in(n: str) -> bool:  # Aadhaar
    return n[0] not in "01" and min(len(set(n[i : i + 4])) for i in (0, 4, 8)) > 1 and verhoeff(n)


def _cn(n: str) -> bool:  # GB 11643-1999, ISO 7064 mod 11-2
    check = weighted(n, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), 11)
    return (
        n[0] in "12345678"
        and born(int(n[6:10]), int(n[10:12]), int(n[12:14]))
        and "10X98765432"[check] == n[17].upper()
    )


def _kr(n: str) -> bool:
    check = (11 - weighted(n, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), 11)) % 10
    return _birthday(n) and check == int(n[12])


def _jp(n: str) -> bool:
    rest = weighted(n, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11)
    return int(n[11]) == (0 if rest <= 1 else 11 - rest)


_CURP = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"


def _mx(n: str) -> bool:
    total = sum(_CURP.index(c) * (18 - place) for place, c in enumerate(n[:17]))
    return _birthday(n[4:10]) and n[10] in "HMX" and n[17] == str(-total % 10)


def _cl(n: str) -> bool:
    total = sum(int(d) * (2 + place % 6) for place, d in enumerate(reversed(n[:-1])))
    return "0K987654321"[total % 11] == n[-1].upper()


def _ar(n: str) -> bool:
    check = (11 - weighted(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), 11)) % 11
    return n[:2] in ("20", "23", "24", "25", "26", "27", "30", "33", "34") and check == int(n[10])


def _tr(n: str) -> bool:
    odd, even = sum(map(int, n[0:9:2])), sum(map(int, n[1:8:2]))
    return n[0] != "0" and (odd * 7 - even) % 10 == int(n[9]) and sum(map(int, n[:10])) % 10 == int(n[10])


def _za(n: str) -> bool:
    return _birthday(n) and n[10] in "012" and luhn(n)


def _il(n: str) -> bool:
    return luhn(n) and n != "000000000"


def _sg(n: str) -> bool:
    shift = {"S": 0, "T": 4, "F": 0, "G": 4, "M": 3}[n[0]]
    rest = (weighted(n[1:8], (2, 7, 6, 5, 4, 3, 2), 11) + shift) % 11
    letters = "JZIHGFEDCBA" if n[0] in "ST" else "XWUTRQPNMLK" if n[0] in "FG" else "XWUTRQPNJLK"
    if n[0] == "M":
        rest = 10 - rest
        letters = "KLJNPQRTUWX"
    return letters[rest] == n[8]


def _hk(n: str) -> bool:
    letters = n[:-7]
    values = [36] * (2 - len(letters)) + [ord(c) - 55 for c in letters] + [int(d) for d in n[-7:-1]]
    check = -sum(v * w for v, w in zip(values, range(9, 1, -1), strict=True)) % 11
    return "0123456789A"[check] == n[-1]


def _ee(n: str) -> bool:  # isikukood, asmens kodas
    rest = weighted(n, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1), 11)
    if rest == 10:
        rest = weighted(n, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3), 11) % 10
    return n[0] in "12345678" and _birthday(n[1:7]) and rest == int(n[10])


def _ch(n: str) -> bool:
    return n[:3] == "756" and (10 - weighted(n, (1, 3) * 6, 10)) % 10 == int(n[12])


class Identity(NamedTuple):
    """A number of a country: its printed forms, what calls it by name, and its check.

    alone: confidence of a printed form without the name, 0 where only the name makes it one.
    """

    country: str
    form: re.Pattern[str]
    name: re.Pattern[bytes]
    check: Callable[[str], bool]
    alone: float = 0.0
    digits: tuple[int, ...] = ()  # bare digits are taken at these lengths, after the name


def _identity(
    country: str, form: str, name: str, check: Callable[[str], bool], alone: float = 0.0, *digits: int
) -> Identity:
    return Identity(
        country,
        re.compile(form),
        re.compile(rf"(?<![A-Za-z0-9_])(?:{name})(?![A-Za-z0-9_])".encode(), re.I),
        check,
        alone,
        digits,
    )


NUMBERS: tuple[Identity, ...] = (
    _identity("US", r"\d{3}-\d{2}-\d{4}", r"ssn|social[ -]sec\w*|soc\.? sec\w*", _us, 0.6, 9),
    _identity("GB", r"\d{3}[ -]\d{3}[ -]\d{4}", r"nhs", _gb_nhs, 0.0, 10),
    _identity("DE", r"\d{2} \d{3} \d{3} \d{3}", r"steuer\S*|idnr|tax id\w*|tin", _de, 0.0, 11),
    _identity(
        "FR",
        r"[12] \d\d \d\d \d\d \d{3} \d{3} \d\d",
        r"nir|insee|s(?:e|é)curit(?:e|é) sociale|n° ?ss|vitale",
        _fr,
        0.85,
        15,
    ),
    _identity("NL", r"\d{4}\.\d{2}\.\d{3}", r"bsn|burgerservice\w*|sofi\w*", _nl, 0.0, 9),
    _identity(
        "BE", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", r"rijksregister\w*|registre national|niss|insz|nrn", _be, 0.95, 11
    ),
    _identity("PT", r"\d{3} \d{3} \d{3}", r"nif|contribuinte|n(?:u|ú)mero fiscal", _pt, 0.0, 9),
    _identity("PL", r"(?!)", r"pesel", _pl, 0.0, 11),
    _identity("SE", r"(?:19|20)?\d{6}[-+]\d{4}", r"person(?:nummer|nr)|pnr|samordningsnummer", _se, 0.6, 10, 12),
    _identity("DK", r"\d{6}-\d{4}", r"cpr\S*|personnummer", _dk, 0.5, 10),
    _identity("NO", r"\d{6} \d{5}", r"f(?:ø|o)dsels\w*|personnummer|d-nummer", _no, 0.8, 11),
    _identity("CZ", r"\d{6}/\d{4}", r"rodn(?:é|e) (?:č|c)(?:í|i)slo|r\.? ?č|rc", _cz, 0.8, 10),
    _identity("BR", r"\d{3}\.\d{3}\.\d{3}-\d{2}", r"cpf", _br, 0.95, 11),
    _identity("CA", r"\d{3}[- ]\d{3}[- ]\d{3}", r"sin|social insurance\w*|nas", _ca, 0.0, 9),
    _identity("AU", r"\d{3}[- ]\d{3}[- ]\d{3}", r"tfn|tax file\w*", _au, 0.0, 9),
    _identity("IN", r"\d{4}[ -]\d{4}[ -]\d{4}", r"aadhaa?r|uid\w*", _in, 0.55, 12),
    _identity("CN", r"\d{18}", r"id ?(?:card|no|number)|shenfen\w*|身份证\S*", _cn, 0.9, 18),
    _identity("KR", r"\d{6}-[1-8]\d{6}", r"rrn|resident registration\w*|주민\S*", _kr, 0.8, 13),
    _identity("JP", r"\d{4}[ -]\d{4}[ -]\d{4}", r"my number|マイナンバー|個人番号", _jp, 0.0, 12),
    _identity("CL", r"\d{1,2}\.\d{3}\.\d{3}-\d", r"rut|run", _cl, 0.9, 8, 9),
    _identity("AR", r"\d{2}-\d{8}-\d", r"cui[tl]", _ar, 0.85, 11),
    _identity("TR", r"(?!)", r"t\.?c\.? ?(?:kimlik|no)\w*|tckn|kimlik\w*", _tr, 0.0, 11),
    _identity("ZA", r"\d{6} \d{4} \d{3}", r"(?:sa|rsa|south african) id\w*|id (?:no|number)", _za, 0.6, 13),
    _identity("IL", r"\d{8}-\d", r"teudat\w*|tz|ת\.ז\S*", _il, 0.0, 9),
    _identity("EE", r"(?!)", r"isikukood\w*|asmens kod\w*", _ee, 0.0, 11),
    _identity("CH", r"756\.\d{4}\.\d{4}\.\d{2}", r"ahv\S*|avs|oasi", _ch, 0.95, 13),
)
CODED: tuple[Identity, ...] = (
    _identity(
        "GB",
        r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]",
        r"nino?|national insurance\w*",
        _gb_nino,
        0.7,
    ),
    _identity("ES", r"\d{8}[A-Z]", r"dni|nif|documento nacional\w*", _es, 0.45),
    _identity("ES", r"\d{8}-[A-Z]", r"dni|nif|documento nacional\w*", _es, 0.7),
    _identity("ES", r"[XYZ]\d{7}[A-Z]", r"nie", _es, 0.6),
    _identity("IT", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", r"codice fiscale|c\.?f", _it, 0.95),
    _identity("FI", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", r"hetu|henkil(?:ö|o)tunnus|sotu", _fi, 0.9),
    _identity("CN", r"\d{17}[Xx]", r"id ?(?:card|no|number)|身份证\S*", _cn, 0.9),
    _identity("MX", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", r"curp", _mx, 0.95),
    _identity("SG", r"[STFGM]\d{7}[A-Z]", r"nric|fin", _sg, 0.8),
    _identity("HK", r"[A-Z]{1,2}\d{6}\([0-9A]\)", r"hkid", _hk, 0.85),
)
_SEPARATORS = str.maketrans("", "", " .-/()")


# One search says for nearly all runs that no country prints its numbers so.
_ANY_FORM = re.compile("|".join(identity.form.pattern for identity in NUMBERS))


def number(run: str, digits: str, start: int, context: bytes) -> Span | None:
    """The identity number that is the whole `run` of digits and separators at `start`; `context`: what is before,
    `digits`: those of `run`."""
    bare = len(digits) == len(run)
    if not 8 <= len(digits) <= 18 or not bare and ("(" in run or _ANY_FORM.fullmatch(run) is None):
        return None
    for identity in NUMBERS:
        if not (bare and len(digits) in identity.digits or identity.form.fullmatch(run)):
            continue
        alone = identity.alone if not bare or identity.country == "CN" else 0.0
        if not alone and identity.name.search(context) is None or not _passes(identity, digits):
            continue
        called = identity.name.search(context) is not None
        return Span(start, start + len(run), KIND, 0.95 if called else alone)
    return None


def coded(text: bytes, start: int, context: bytes) -> Span | None:
    """An identity number of digits and letters that begins at `start`."""
    try:
        value = text.decode("ascii").rstrip()
    except UnicodeDecodeError:
        return None
    for identity in CODED:
        match = identity.form.match(value)
        if match is None or match.end() < len(value) and (value[match.end()].isalnum() or identity.country != "GB"):
            continue
        plain = match.group().replace(" ", "") if identity.country == "GB" else match.group().translate(_SEPARATORS)
        if identity.country == "FI":
            plain = match.group()
        if _passes(identity, plain):
            called = identity.name.search(context) is not None
            return Span(start, start + match.end(), KIND, 0.95 if called else identity.alone)
    return None


def _passes(identity: Identity, plain: str) -> bool:
    try:
        return identity.check(plain)
    except (ValueError, IndexError, KeyError):  # a month of 0, a letter that the scheme does not use
        return False
