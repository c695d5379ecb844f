"""What licence fields mean: names, classifiers and addresses -> SPDX expressions."""

from __future__ import annotations

import re
from functools import lru_cache

from licenses.expressions import parse_expression
from licenses.urls import url_expression

# Trove classifiers (packaging.python.org) with one meaning; "BSD License", "Apache Software License" and the
# like name a family, and the family's usual member is not good enough where the text can tell.
_CLASSIFIERS = {
    "mit license": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "isc license (iscl)": "ISC",
    "mozilla public license 1.0 (mpl)": "MPL-1.0",
    "mozilla public license 1.1 (mpl 1.1)": "MPL-1.1",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "zope public license": "ZPL-2.1",
    "the unlicense (unlicense)": "Unlicense",
    "boost software license 1.0 (bsl-1.0)": "BSL-1.0",
    "zlib/libpng license": "Zlib",
    "artistic license": "Artistic-2.0",
    "academic free license (afl)": "AFL-3.0",
    "universal permissive license (upl)": "UPL-1.0",
    "university of illinois/ncsa open source license": "NCSA",
    "eclipse public license 1.0 (epl-1.0)": "EPL-1.0",
    "eclipse public license 2.0 (epl-2.0)": "EPL-2.0",
    "european union public licence 1.1 (eupl 1.1)": "EUPL-1.1",
    "european union public licence 1.2 (eupl 1.2)": "EUPL-1.2",
    "common development and distribution license 1.0 (cddl-1.0)": "CDDL-1.0",
    "sil open font license 1.1 (ofl-1.1)": "OFL-1.1",
    "blue oak model license (blueoak-1.0.0)": "BlueOak-1.0.0",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 (lgplv2)": "LGPL-2.0-only",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0",
    "public domain": "LicenseRef-scancode-public-domain",
    "other/proprietary license": "LicenseRef-scancode-proprietary-license",
    "apache software license": "Apache-2.0",  # the classifier is older than 2.0, which nearly all users mean
}
_FAMILIES = frozenset(
    ("bsd", "bsd license", "bsd-like", "gpl", "gnu gpl", "lgpl", "psf", "dual license", "other", "custom")
)

# Free-text names in licence fields, after lower-casing, dropping punctuation, "the", "license" and "version".
_NAMES = {
    "mit": "MIT",
    "expat": "MIT",
    "mit x11": "MIT",
    "x11": "X11",
    "mit expat": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache v2": "Apache-2.0",
    "apache v2.0": "Apache-2.0",
    "apache software 2.0": "Apache-2.0",
    "apache software": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache2.0": "Apache-2.0",
    "bsd 3 clause": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "revised bsd": "BSD-3-Clause",
    "bsd3": "BSD-3-Clause",
    "bsd 2 clause": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "freebsd": "BSD-2-Clause-FreeBSD",
    "isc": "ISC",
    "iscl": "ISC",
    "mpl 2.0": "MPL-2.0",
    "mpl2": "MPL-2.0",
    "mpl v2.0": "MPL-2.0",
    "mozilla public 2.0": "MPL-2.0",
    "mpl 1.1": "MPL-1.1",
    "gplv2": "GPL-2.0-only",
    "gpl v2": "GPL-2.0-only",
    "gpl 2": "GPL-2.0-only",
    "gplv2+": "GPL-2.0-or-later",
    "gpl v2+": "GPL-2.0-or-later",
    "gplv2 or later": "GPL-2.0-or-later",
    "gnu gplv2 or any later": "GPL-2.0-or-later",
    "gplv3": "GPL-3.0-only",
    "gpl v3": "GPL-3.0-only",
    "gpl 3": "GPL-3.0-only",
    "gnu gplv3": "GPL-3.0-only",
    "gnu gpl v3": "GPL-3.0-only",
    "gplv3+": "GPL-3.0-or-later",
    "gpl v3+": "GPL-3.0-or-later",
    "gplv3 or later": "GPL-3.0-or-later",
    "gnu general public v3": "GPL-3.0-only",
    "gnu general public v3 or later": "GPL-3.0-or-later",
    "lgplv2.1": "LGPL-2.1-only",
    "lgplv2.1+": "LGPL-2.1-or-later",
    "lgplv3": "LGPL-3.0-only",
    "lgpl v3": "LGPL-3.0-only",
    "lgplv3+": "LGPL-3.0-or-later",
    "agplv3": "AGPL-3.0-only",
    "agpl v3": "AGPL-3.0-only",
    "agplv3+": "AGPL-3.0-or-later",
    "unlicense": "Unlicense",
    "public domain": "LicenseRef-scancode-public-domain",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "wtfpl": "WTFPL",
    "zlib": "Zlib",
    "psf 2.0": "PSF-2.0",
    "psf": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "boost software 1.0": "BSL-1.0",
    "bsl 1.0": "BSL-1.0",
    "zpl 2.1": "ZPL-2.1",
    "epl 2.0": "EPL-2.0",
    "proprietary": "LicenseRef-scancode-proprietary-license",
    "unlicensed": "LicenseRef-scancode-proprietary-license",  # npm's word for "not licensed to anybody"
    "all rights reserved": "LicenseRef-scancode-proprietary-license",
}
# "CC BY-NC 4.0 International", "Creative Commons Attribution-ShareAlike 3.0 Unported".
_CC_NAME = re.compile(
    r"(?:creative commons |cc[ -])(?:attribution|by)(?P<nc>[ -]non[ -]?commercial|[ -]nc)?"
    r"(?:(?P<nd>[ -]no[ -]?deriv\w*|[ -]nd)|(?P<sa>[ -]share[ -]?alike|[ -]sa))?(?: licen[sc]e)?,?(?: version| v)?[ -]?"
    r"(?P<version>[1-4]\.\d)(?: (?:international|unported|generic))?(?: (?:public )?licen[sc]e)?(?: \(cc.{1,20}\))?",
    re.IGNORECASE,
)
_CC_ZERO = re.compile(
    r"(?:creative commons (?:zero|0)|cc[ -]?(?:0|zero))(?:[ -]?v?1\.0)?(?: universal)?(?: .{0,40})?", re.I
)


def creative_commons_name(text: str) -> str | None:
    """The SPDX id of a Creative Commons licence that is named with its version, or of CC0; else None."""
    plain = re.sub(r"^the ", "", " ".join(text.split()), flags=re.IGNORECASE)
    match = _CC_NAME.fullmatch(plain)
    if match is None:
        return "CC0-1.0" if _CC_ZERO.fullmatch(plain) else None
    parts = "".join(f"-{name.upper()}" for name in ("nc", "nd", "sa") if match[name])
    return parse_expression(f"CC-BY{parts}-{match['version']}")


def classifier_expression(classifiers: list[str]) -> str | None:
    """The expression of `License :: ...` classifiers: one id each, joined with OR as PyPI's own guidance
    reads them."""
    found = []
    for line in classifiers:
        leaf = line.split("::")[-1].strip().lower()
        if line.strip().lower().startswith("license") and leaf in _CLASSIFIERS:
            found.append(_CLASSIFIERS[leaf])
    return " OR ".join(dict.fromkeys(found)) or None


@lru_cache(maxsize=65536)
def normalise(value: str) -> str | None:
    """The expression that a licence field, classifier, licence name or address means, else None.

    A family name without its version ("BSD", "GPL") is None: the text of the licence file decides.
    """
    text = value.strip()
    if not text:
        return None
    found = parse_expression(text) or url_expression(text) or creative_commons_name(text)
    if found:
        return found
    if text.lower().startswith("license ::"):
        return classifier_expression([text])
    lowered = text.lower()
    if lowered in _CLASSIFIERS:
        return _CLASSIFIERS[lowered]
    if lowered in _FAMILIES or len(text) > 200:
        return None
    plain = re.sub(r"[^a-z0-9.+]+", " ", lowered)
    plain = re.sub(r"\b(?:the|licen[sc]ed?|licen[sc]es|version|under|terms|of|a)\b", " ", plain)
    plain = re.sub(r"\s+", " ", plain).strip(" .")
    if plain in _NAMES:
        return _NAMES[plain]
    parts = [part for part in re.split(r"\s*(?:/|\bor\b|\||,)\s*", text, flags=re.IGNORECASE) if part]
    if 2 <= len(parts) <= 4 and text.count("/") + len(parts) < 6 and "://" not in text:
        ids = [normalise(part) for part in parts]
        if all(ids):
            return parse_expression(" OR ".join(str(one) for one in ids))
    parts = [part for part in re.split(r"\s*(?:&|\band\b|\+|;)\s*", text, flags=re.IGNORECASE) if part]
    if 2 <= len(parts) <= 4:
        ids = [normalise(part) for part in parts]
        if all(ids):
            return parse_expression(" AND ".join(f"({one})" for one in ids))
    return None
