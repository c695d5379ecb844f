"""Identity numbers, devices, places, addresses, user names, cues of names, URLs: what is found, what is left."""

from __future__ import annotations

import random

import pytest

from pii import detect
from pii.conversations import mask_participants
from pii.national import CODED, NUMBERS, verhoeff


def found(text: str, kind: str, least: float = 0.5) -> list[str]:
    return [text[s.start : s.end] for s in detect(text) if s.kind == kind and s.confidence >= least]


# Published specimens and numbers whose check digits were computed by hand; one a country.
IDENTITIES = [
    ("US", "SSN: 536-90-4399", "536-90-4399"),
    ("GB", "NI number AB 12 34 56 C", "AB 12 34 56 C"),
    ("GB", "NHS 943 476 5919", "943 476 5919"),
    ("DE", "Steuer-ID 36574261809", "36574261809"),
    ("FR", "sécurité sociale 2 95 10 99 126 111 93", "2 95 10 99 126 111 93"),
    ("NL", "BSN 111222333", "111222333"),
    ("BE", "93.05.18-223.61", "93.05.18-223.61"),
    ("PT", "NIF: 123456789", "123456789"),
    ("PL", "PESEL 44051401359", "44051401359"),
    ("SE", "811218-9876", "811218-9876"),
    ("FI", "131052-308T", "131052-308T"),
    ("NO", "fødselsnummer 07027030291", "07027030291"),
    ("DK", "CPR 211062-5629", "211062-5629"),
    ("CZ", "710319/2745", "710319/2745"),
    ("BR", "390.533.447-05", "390.533.447-05"),
    ("CA", "SIN 123-456-782", "123-456-782"),
    ("AU", "TFN 123 456 782", "123 456 782"),
    ("IN", "Aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("CN", "11010519491231002X", "11010519491231002X"),
    ("KR", "971013-9019902", None),
    ("MX", "BOXW310820HNERXN09", "BOXW310820HNERXN09"),
    ("CL", "12.531.909-2", "12.531.909-2"),
    ("AR", "20-05536168-2", "20-05536168-2"),
    ("TR", "TCKN 17291716060", "17291716060"),
    ("ZA", "ID number 7503305044089", "7503305044089"),
    ("IL", "teudat zehut 039337423", "039337423"),
    ("SG", "S1234567D", "S1234567D"),
    ("HK", "HKID A123456(3)", "A123456(3)"),
    ("EE", "isikukood 37605030299", "37605030299"),
    ("CH", "756.9217.0769.85", "756.9217.0769.85"),
    ("ES", "DNI 54362315K", "54362315K"),
    ("ES", "X2482300W", "X2482300W"),
    ("IT", "RCCMNL83S18D969H", "RCCMNL83S18D969H"),
]


@pytest.mark.parametrize(("country", "text", "number"), IDENTITIES)
def test_identity_numbers(country: str, text: str, number: str | None) -> None:
    assert found(text, "NATIONAL_ID") == ([number] if number else [])


def test_at_least_ten_countries_have_checks() -> None:
    assert len({identity.country for identity in (*NUMBERS, *CODED)}) >= 25


@pytest.mark.parametrize(("country", "text", "number"), [row for row in IDENTITIES if row[2]])
def test_a_wrong_digit_is_found_out(country: str, text: str, number: str) -> None:
    """Each digit changed in turn; schemes with one check digit find every change, SSN and NINO have none."""
    if text.startswith(("SSN", "NI ")):
        pytest.skip("no check digit")
    rng = random.Random(7)
    kept = changed = 0
    for place, digit in enumerate(number):
        if digit.isdigit():
            other = rng.choice([d for d in "0123456789" if d != digit])
            mutant = text.replace(number, number[:place] + other + number[place + 1 :])
            changed += 1
            kept += bool(found(mutant, "NATIONAL_ID"))
    assert kept <= changed // 6, f"{country}: {kept} of {changed} changes passed"


def test_bare_digits_need_the_name() -> None:
    for digits in ("111222333", "44051401359", "17291716060", "039337423", "36574261809"):
        assert found(f"order {digits} shipped", "NATIONAL_ID") == []
    assert found("specimen 123-45-6789 and 078-05-1120, 000-12-3456, 666-12-3456, 123-00-4567", "NATIONAL_ID") == []


def test_verhoeff_finds_every_swap() -> None:
    assert verhoeff("234123412346")
    assert not any(verhoeff(s) for s in ("324123412346", "243123412346", "231423412346", "234123412364"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("link/ether 3c:97:0e:e9:28:8e brd", "3c:97:0e:e9:28:8e"),
        ("MAC 3C-97-0E-E9-28-8E", "3C-97-0E-E9-28-8E"),
        ("arp 3c97.0ee9.288e", "3c97.0ee9.288e"),
        ('"02:42:ea:15:d8:84"', "02:42:ea:15:d8:84"),
    ],
)
def test_mac(text: str, address: str) -> None:
    assert found(text, "MAC_ADDRESS") == [address]


@pytest.mark.parametrize(
    "text",
    [
        "ff:ff:ff:ff:ff:ff 00:00:00:00:00:00 01:00:5e:00:00:fb",
        "00-00-5E-00-53-1A",
        "00:11:22:33:44:55:66:77",
        "a3c:97:0e:e9:28:8e",
        "3c:97:0e:e9:28:8",
        "3c:97-0e:e9-28:8e",
        "10-11-12-13-14-16",
        "12:30:45",
        "a94a.8fe5.ccb1.9ba6",
    ],
)
def test_no_mac(text: str) -> None:
    assert found(text, "MAC_ADDRESS") == []


def test_imei() -> None:
    assert found("IMEI: 490154203237518", "IMEI") == ["490154203237518"]
    assert found("35-209900-176148-1", "IMEI") == ["35-209900-176148-1"]
    assert found("IMEI 490154203237517", "IMEI") == found("id 490154203237518", "IMEI") == []
    assert found("IMEISV 4901542032375186", "IMEI") == ["4901542032375186"]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("GPS: 48.85837, 2.29448", "48.85837, 2.29448"),
        ('"coordinates": [-73.98565, 40.74844]', "-73.98565, 40.74844"),
        ("maps/@52.51628,13.37771,15z", "52.51628,13.37771"),
        ("lat/lon -33.8568 151.2153", "-33.8568 151.2153"),
        ("at 40°26'46\"N 79°58'56\"W today", "40°26'46\"N 79°58'56\"W"),
        ("40° 26′ 46″ N, 79° 58′ 56″ W", "40° 26′ 46″ N, 79° 58′ 56″ W"),
    ],
)
def test_gps(text: str, position: str) -> None:
    assert found(text, "GPS") == [position]


@pytest.mark.parametrize(
    "text",
    [
        "Point(-0.643, -3.151)",
        "lat 91.12345, 2.29448",
        "0.12345, 0.23456, 0.34567",
        "d='M1.23456,2.34567 3.45678,4.56789'",
        "48.85837, 2.29448",
        "scale 1.2345 2.3456",
        "turn 40° N",
        "40°N 79°W",
    ],
)
def test_no_gps(text: str) -> None:
    assert found(text, "GPS") == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (
            "at 1600 Pennsylvania Avenue NW, Washington, DC 20500 today",
            "1600 Pennsylvania Avenue NW, Washington, DC 20500",
        ),
        ("write to 221B Baker Street, London NW1 6XE.", "221B Baker Street, London NW1 6XE"),
        ("1668 Glyn St. Apt. 329", "1668 Glyn St. Apt. 329"),
        ("Hauptstraße 12, 10115 Berlin", "Hauptstraße 12, 10115"),
        ("Lindenallee 7a", "Lindenallee 7a"),
        ("Via dei Fiorentini 17", "Via dei Fiorentini 17"),
        ("wohnt rue de la Paix 12", "rue de la Paix 12"),
        ("Avda. Rio Nalon 58", "Avda. Rio Nalon 58"),
        ("habite 29, rue de la Paix, 75002 Paris", "29, rue de la Paix, 75002"),
        ("au 56 Rue La Boétie", "56 Rue La Boétie"),
        ("12 boulevard d'Italie", "12 boulevard d'Italie"),
        ("ul. Grochowa 80", "ul. Grochowa 80"),
        ("Rua Itajubá, 223", "Rua Itajubá, 223"),
        ("PO Box 94", "PO Box 94"),
        ("Unit 8524 Box 0979\nDPO AA 56703", "Unit 8524 Box 0979\nDPO AA 56703"),
        ("USS Mahler\nFPO AA 70489", "USS Mahler\nFPO AA 70489"),
        ("Sludevej 13", "Sludevej 13"),
        ("Drottninggatan 5", "Drottninggatan 5"),
    ],
)
def test_address(text: str, address: str) -> None:
    assert found(text, "ADDRESS") == [address]


@pytest.mark.parametrize(
    "text",
    [
        "Chapter 12 Street",
        "May 12 Grand Avenue opens",
        "Spring 2005",
        "During 26 days",
        "Shuddering, 802.",
        "QuotedString 45",
        "lifted into place in August 2004",
        "1985 McGraw-Hill",
        "51 Franklin Street, Fifth Floor, Boston, MA 02110-1301, USA",
        "Management Suite 2014",
        "brigade 5",
        "page 3 Main Road",
        "2 cats in a row",
        "Windows 10",
        "version 3.2 Park Lane",
        "12 hours drive",
        "3 Dr.",
        "the 2 place names",
        "2 route changes for Ann",
    ],
)
def test_no_address(text: str) -> None:
    assert found(text, "ADDRESS") == []


IRC = "<ann42> hi all\n<bob_s> hello ann42\n<ann42> did bob_s merge it?\n[12:01] <cee> yes\n"
COLONS = "ann_k: where is it?\nrob-7: on the disk\nann_k: thanks rob-7\nrob-7: ok\n"


def test_user_names() -> None:
    assert found(IRC, "USERNAME") == ["ann42", "bob_s", "ann42", "ann42", "bob_s", "cee"]
    assert found(COLONS, "USERNAME") == ["ann_k", "rob-7", "ann_k", "rob-7", "rob-7"]
    assert found("fixed, thanks to @hectormz for it", "USERNAME") == ["hectormz"]


@pytest.mark.parametrize(
    "text",
    [
        "Name: x\nDate: y\nName: z\nDate: w\n",
        "def f():\n  a: int\n@property\ndef g(): pass\n",
        "note: one\nwarning: two\nnote: three\nwarning: four",
        "key_1: a\nkey_2: b\nkey_3: c\nkey_4: d",
        "For example, the @vectorize decorator",
        "<b> bold\n",
        "import @scope/name",
    ],
)
def test_no_user_names(text: str) -> None:
    assert found(text, "USERNAME") == []


def test_participants_in_order_of_first_appearance() -> None:
    turns = [("ann", "hi bob, annotated?"), ("bob", "yes ann"), ("", "ann left"), ("ann", "@bob bye")]
    assert mask_participants(turns) == [
        ("username_0", "hi username_1, annotated?"),
        ("username_1", "yes username_0"),
        ("username_2", "username_0 left"),
        ("username_0", "@username_1 bye"),
    ]
    assert mask_participants([]) == []
    # One pass: a user who is called like a replacement is not replaced twice.
    assert mask_participants([("x1", "username_1?"), ("username_1", "x1!")]) == [
        ("username_0", "username_1?"),
        ("username_1", "username_0!"),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Signed-off-by: Jane Émile <jane@example.com>", "Jane Émile"),
        ("Hello, my name is Anna van der Berg.", "Anna van der Berg"),
        ("Ask Mr. Smith's dog", "Smith"),
        ("Prof. Dr. Sabine Trepte sagt", "Dr. Sabine Trepte"),
        (" * @author John Doe", "John Doe"),
    ],
)
def test_names_behind_a_cue(text: str, name: str) -> None:
    assert found(text, "PERSON") == [name]


@pytest.mark.parametrize("text", ["Mr. President", "my name is not", "@author jdoe", "HMr. Smith", "Dr. who"])
def test_no_names(text: str) -> None:
    assert found(text, "PERSON") == []


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("see https://www.ArtistMovie.se/.", "https://www.ArtistMovie.se/"),
        ("(http://example.org/a_(b))", "http://example.org/a_(b)"),
        ("go to www.example.de/x?y=1, now", "www.example.de/x?y=1"),
        ("Visit Example.com today", "Example.com"),
        ("ftp://ftp.example.net/pub", "ftp://ftp.example.net/pub"),
        ("at example.com/a/b.", "example.com/a/b"),
    ],
)
def test_url(text: str, url: str) -> None:
    assert found(text, "URL") == [url]


@pytest.mark.parametrize(
    "text", ["e.g. this", "Node.js", "self.com(x)", "std://x", "a.b.c", "xhttp://y.com", "file.py"]
)
def test_no_url(text: str) -> None:
    assert found(text, "URL") == []
