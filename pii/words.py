"""Words that the scan looks up while it reads: kinds of streets, units of buildings, top-level domains."""

from __future__ import annotations

import numpy as np

AFTER, BEFORE, SUFFIX, UNIT, DOMAIN = 1, 2, 4, 8, 16

# Kinds of streets that follow a name, as USPS Publication 28 appendix C1 lists them, the most used ones with their
# abbreviations, and those of Great Britain, Ireland and Australia beside them.
_AFTER = """alley aly avenue ave boulevard blvd bypass circle cir close court ct crescent cres drive dr esplanade
expressway expy freeway fwy gardens gdns green grove highway hwy hill lane ln mews parade park parkway pkwy place pl
plaza plz promenade quay ridge rise road rd row square sq street st strand terrace ter terr trail trl turnpike tpke
vale view walk way wharf causeway crossing xing heights hts loop pike route"""
# Kinds that come before the name: French, Italian, Spanish, Portuguese, Catalan, Polish, Czech, Romanian, Turkish,
# Russian and Greek in Latin letters, Indonesian, Dutch and Danish compounds apart.
_BEFORE = """rue avenue boulevard chemin impasse allée quai cours place route via viale piazza corso largo vicolo strada
contrada calle avenida avda avda. avd. plaza paseo camino carrera carretera ronda glorieta rua travessa estrada praça
alameda carrer passeig ul. ulica ulice al. aleja aleje os. osiedle plac pl. str. strada bulevardul calea jalan jl.
ulitsa odos leoforos sokak cadde cad. rúa r. av. c/ c/. rambla estr. trav. largo beco ruta autopista circunvalación"""
# Ends of one word with its kind of street: German, Dutch, Swedish, Norwegian, Danish, Finnish, Estonian, Icelandic,
# Faroese.  Hungarian, Slovene and Croatian kinds follow as words of their own and stand at the end.
_SUFFIX = """strasse straße str. gasse allee platz damm ufer steig straat laan plein kade gracht dreef singel gatan
vägen gränd vej gade allé gaten veien gata stræde torv katu tie polku kuja puiestee maantee tänav stræti stígur weg
vegur"""
_WORDS_BEFORE_NUMBER = "utca út útja tér körút ulica cesta trg ulice tee tn. mnt. weg platz allee u."
_UNIT = """apt apt. apartment suite ste ste. unit floor fl. room rm. flat lot trailer trlr bldg bldg. building box
penthouse psc cmr aa ae ap"""
# Bare host names are taken only under these: most other top-level domains are also endings of files or words.
_DOMAINS = "com org net edu gov mil int info biz"


def packed(word: bytes) -> int:
    """The first 8 bytes of a word in lower case (ASCII), with its length in the top bits for longer ones."""
    value = 0
    for byte in word[:8]:
        value = (value << 8 | (byte | 32 if 65 <= byte <= 90 else byte)) & 0xFFFFFFFFFFFFFFFF
    return (value ^ (len(word) << 59)) & 0xFFFFFFFFFFFFFFFF


SLOTS = 4096
MULTIPLIER = 0x9E3779B97F4A7C15
SHIFT = 52


def _table() -> tuple[np.ndarray, np.ndarray]:
    """[SLOTS] uint64 packed words (0 = none) and [SLOTS] uint8 flags, open addressing."""
    keys, flags = np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.uint8)
    for flag, words in (
        (AFTER, _AFTER),
        (BEFORE, _BEFORE),
        (SUFFIX, _SUFFIX + " " + _WORDS_BEFORE_NUMBER),
        (UNIT, _UNIT),
        (DOMAIN, _DOMAINS),
    ):
        for word in words.split():
            key = packed(word.encode())
            slot = (key * MULTIPLIER & 0xFFFFFFFFFFFFFFFF) >> SHIFT
            while keys[slot] not in (0, key):
                slot = (slot + 1) % SLOTS
            keys[slot] = key
            flags[slot] |= flag
    return keys, flags


KEYS, FLAGS = _table()


def words_of(flag: int) -> list[str]:
    """The words of one flag, as listed."""
    lists = {AFTER: _AFTER, BEFORE: _BEFORE, SUFFIX: _SUFFIX, UNIT: _UNIT, DOMAIN: _DOMAINS}
    return sorted(set(lists[flag].split()))


WORDS_BEFORE_NUMBER = _WORDS_BEFORE_NUMBER.split()
