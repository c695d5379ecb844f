"""Licences by address: Creative Commons with version and jurisdiction, and the pages that publish a licence's text."""

from __future__ import annotations

import re
from functools import lru_cache

from licenses.expressions import parse_expression

# creativecommons.org: licenses/KIND/VERSION/JURISDICTION.  Version 1.0 also had kinds that no later one has, and wrote
# nd before nc (by-nd-nc).
_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-n[cd])?(?:-n[cd]|-sa)?|sa|nd|nc|nc-sa|nd-nc)/(?P<version>[1-4]\.\d)"
    r"(?:/(?P<port>[a-z]{2,3}(?![a-z])))?"
    r"|(?P<zero>publicdomain/zero|licenses/zero)/1\.0|(?P<mark>publicdomain/mark)/1\.0|(?P<dedication>licenses/publicdomain)"
    r"(?![\w-])|licenses/(?P<sampling>(?:nc-)?sampling\+?|devnations)/(?P<old>[12]\.0))",
    re.IGNORECASE,
)
# The ports whose texts SPDX lists, by what stands in the address.
_CC_PORTS = {"de", "at", "au", "nl", "us", "igo", "uk", "jp", "fr"}
_CC_PORT_IDS = {"uk": "UK", "igo": "IGO"}

# (address without scheme and www., expression); \1 is a group of the pattern, in which `-` stands for `.` where the
# publisher writes it so.  Each is the address that the licence's own steward or the Open Source Initiative gives.
_PAGES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), expression)
    for pattern, expression in (
        (r"apache\.org/licenses/license-(1\.[01]|2\.0)(?:\.txt|\.html)?", r"Apache-\1"),
        (r"(?:opensource\.org/licenses?|spdx\.org/licenses|choosealicense\.com/licenses)/([\w.+-]+)", r"\1"),
        (
            r"gnu\.org/(?:licenses|copyleft)/(?:old-licenses/)?((?:l|a)?gpl)-([123]\.[01])(?:-standalone)?(?:\.\w+)*",
            r"\1-\2",
        ),
        (r"gnu\.org/(?:licenses|copyleft)/(?:old-licenses/)?fdl-(1\.[123])(?:-standalone)?(?:\.\w+)*", r"GFDL-\1"),
        (r"mozilla\.org/(?:[a-z]{2}(?:-[a-z]{2})?/)?mpl/([12]\.[01])(?:/index\.\w+)?", r"MPL-\1"),
        (r"mozilla\.org/mpl/mpl-(1\.[01])(?:\.\w+)?", r"MPL-\1"),
        (r"eclipse\.org/legal/epl-(?:v)?([12])\.?0(?:/|\.\w+)?", r"EPL-\1.0"),
        (r"eclipse\.org/org/documents/epl-(?:v)?([12])\.?0(?:/\w*|\.\w+)*", r"EPL-\1.0"),
        (r"eclipse\.org/org/documents/edl-v10(?:\.\w+)?", "BSD-3-Clause"),
        (r"boost\.org/license_1_0\.txt", "BSL-1.0"),
        (r"unlicense\.org(?:/unlicense)?", "Unlicense"),
        (r"wtfpl\.net(?:/about)?", "WTFPL"),
        (r"opendatacommons\.org/licenses/by/(?:summary|1[-.]0)", "ODC-By-1.0"),
        (r"opendatacommons\.org/licenses/odbl/(?:summary|1[-.]0)", "ODbL-1.0"),
        (r"opendatacommons\.org/licenses/pddl/(?:summary|1[-.]0)", "PDDL-1.0"),
        (r"nationalarchives\.gov\.uk/doc/open-government-licence/version/([123])", r"OGL-UK-\1.0"),
        (r"scripts\.sil\.org/ofl(?:_web)?", "OFL-1.1"),
        (r"openfontlicense\.org(?:/open-font-license-official-text)?", "OFL-1.1"),
        (r"polyformproject\.org/licenses/([a-z-]+)/(1\.0\.0)", r"PolyForm-\1-\2"),
        (r"blueoakcouncil\.org/license/1\.0\.0", "BlueOak-1.0.0"),
        (r"elastic\.co/licensing/elastic-license", "Elastic-2.0"),
        (r"mongodb\.com/licensing/server-side-public-license", "SSPL-1.0"),
        (
            r"glassfish\.java\.net/public/cddl\+gpl(?:_1_1)?\.html",
            "CDDL-1.1 OR GPL-2.0-only WITH Classpath-exception-2.0",
        ),
    )
)
# opensource.org writes names in its addresses, old and new.
_SLUGS = {
    "mit-license": "MIT",
    "apache2.0": "Apache-2.0",
    "apache-2-0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc-license": "ISC",
    "isc-license-txt": "ISC",
    "gpl-license": "",  # whatever version is newest
    "bsd-license": "",  # was the two-clause and the three-clause text at different times
    "lgpl-license": "",
    "mozilla1.1": "MPL-1.1",
    "mpl-2-0": "MPL-2.0",
    "gpl-2-0": "GPL-2.0",
    "gpl-3-0": "GPL-3.0",
    "lgpl-2-1": "LGPL-2.1",
    "lgpl-3-0": "LGPL-3.0",
    "agpl-v3": "AGPL-3.0",
    "epl-2-0": "EPL-2.0",
    "bsl-1-0": "BSL-1.0",
    "artistic-license-2.0": "Artistic-2.0",
    "artistic-2-0": "Artistic-2.0",
    "zlib-license": "Zlib",
    "academic": "",
    "cpl1.0": "CPL-1.0",
    "eclipse-1.0": "EPL-1.0",
    "postgresql": "PostgreSQL",
    "unlicense": "Unlicense",
    "0bsd": "0BSD",
}
MAX_URL = 500  # characters; a longer address is no licence's


def creative_commons(url: str) -> str | None:
    """The SPDX id of a creativecommons.org licence address, or None.

    A port that SPDX does not list is its unported; kinds that it does not list at all have ScanCode's name.
    """
    match = _CC.search(url[:MAX_URL])
    if match is None:
        return None
    if match["zero"]:
        return "CC0-1.0"
    if match["mark"]:
        return "CC-PDM-1.0"
    if match["dedication"]:
        return "CC-PDDC"
    if match["sampling"]:
        kind = match["sampling"].lower().replace("+", "-plus")
        return f"LicenseRef-scancode-cc-{kind}-{match['old']}"
    kind, version = match["kind"].upper().replace("ND-NC", "NC-ND"), match["version"]
    if kind in ("NC", "ND", "NC-SA", "NC-ND"):
        return f"LicenseRef-scancode-cc-{kind.lower()}-{version}"
    port = (match["port"] or "").lower()
    if port in _CC_PORTS:
        ported = parse_expression(f"CC-{kind}-{version}-{port}")
        if ported:
            return ported
    return parse_expression(f"CC-{kind}-{version}")


@lru_cache(maxsize=65536)
def url_expression(url: str) -> str | None:
    """The SPDX expression of an address that publishes one licence, or None.

    The GNU licences are taken as -only: an address says which text, not whether later ones will do.
    """
    if len(url) > MAX_URL:
        return None
    found = creative_commons(url)
    if found:
        return found
    plain = re.sub(
        r"^(?:https?:)?//(?:www\.)?|^www\.", "", url.strip().split("#")[0].split("?")[0], flags=re.IGNORECASE
    )
    plain = plain.rstrip("/")
    for pattern, expression in _PAGES:
        match = pattern.fullmatch(plain)
        if match is None:
            continue
        value = match.expand(expression)
        if expression == r"\1":
            name = re.sub(r"\.(?:php|html?|txt|json)$", "", value.lower())
            value = _SLUGS.get(name, name)
        return parse_expression(value)
    return None
