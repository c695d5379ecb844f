"""SPDX expressions: parsing with license-expression, and turning what metadata says into an expression."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

# Deprecated ids that hold their exception in the name (SPDX licence list 3.x).
_COMPOUND = {
    "gpl-2.0-with-autoconf-exception": "GPL-2.0-only WITH Autoconf-exception-2.0",
    "gpl-2.0-with-bison-exception": "GPL-2.0-only WITH Bison-exception-2.2",
    "gpl-2.0-with-classpath-exception": "GPL-2.0-only WITH Classpath-exception-2.0",
    "gpl-2.0-with-font-exception": "GPL-2.0-only WITH Font-exception-2.0",
    "gpl-2.0-with-gcc-exception": "GPL-2.0-only WITH GCC-exception-2.0",
    "gpl-3.0-with-autoconf-exception": "GPL-3.0-only WITH Autoconf-exception-3.0",
    "gpl-3.0-with-gcc-exception": "GPL-3.0-only WITH GCC-exception-3.1",
    "ecos-2.0": "GPL-2.0-or-later WITH eCos-exception-2.0",
    "standardml-nj": "SMLNJ",
    "wxwindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1",
    "nunit": "zlib-acknowledgement",
    "bzip2-1.0.5": "bzip2-1.0.6",
}

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
_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>by(?:-nc)?(?:-nd|-sa)?|sa|nd|nc)/(?P<version>\d\.\d)(?:/(?P<port>[a-z]{2,3}))?"
    r"|(?P<zero>publicdomain/zero|licenses/zero)/1\.0|(?P<mark>publicdomain/mark)/1\.0)",
    re.IGNORECASE,
)
_CC_PORTS = {"de", "at", "au", "nl", "us", "igo", "uk", "jp", "fr"}


@cache
def licensing() -> Any:
    """The parser with all SPDX licences and exceptions, built once a process."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@cache
def _known_ids() -> frozenset[str]:
    """Lower-case ids of the parser and of the class table, which holds newer ids."""
    from licenses.classes import class_table

    return frozenset(key.lower() for key in licensing().known_symbols) | frozenset(class_table())


@lru_cache(maxsize=65536)
def parse_expression(value: str) -> str | None:
    """The canonical SPDX expression of `value`, or None if it does not parse or names an unknown id.

    Ids are matched without regard to case and deprecated ones replaced (GPL-2.0+ becomes GPL-2.0-or-later);
    LicenseRef-... and DocumentRef-...:LicenseRef-... pass; NONE and NOASSERTION are no expressions here.
    """
    text = value.strip()
    if not text or len(text) > 2000:
        return None
    text = re.sub(
        r"(?<![\w.-])([A-Za-z0-9.-]+)(?![\w.+-])", lambda m: _COMPOUND.get(m[0].lower(), m[0]), text
    )
    text = re.sub(r"\b(?:and|or|with)\b", lambda m: m[0].upper(), text, flags=re.IGNORECASE)
    try:
        tree = licensing().parse(text)
        if tree is None:
            return None
        for symbol in licensing().unknown_license_keys(tree):
            if not re.fullmatch(r"(?:DocumentRef-[\w.-]+:)?LicenseRef-[\w.-]+", symbol):
                if symbol.lower().removesuffix("+") not in _known_ids():
                    return None
        for part in tree.symbols:
            if getattr(part, "is_exception", False):
                return None
        return str(tree.render())
    except Exception:  # the parser raises four unrelated error classes; all mean "not an expression"
        return None


def join(operator: str, expressions: Iterable[str]) -> str | None:
    """The expressions joined with AND or OR, flat and without repeats; None for no expression at all."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) < 2:
        return distinct[0] if distinct else None
    flat: list[str] = []
    for one in distinct:
        tree = licensing().parse(one)
        parts = tree.args if getattr(tree, "operator", "").strip() == operator else (tree,)
        flat += [str(part.render()) for part in parts]
    return f" {operator} ".join(
        f"({one})" if " AND " in one or " OR " in one else one for one in dict.fromkeys(flat)
    )


def creative_commons(url: str) -> str | None:
    """The SPDX id of a creativecommons.org licence address, or None.  A port that SPDX does not list is its
    unported."""
    match = _CC.search(url)
    if match is None:
        return None
    if match["zero"]:
        return "CC0-1.0"
    if match["mark"]:
        return "CC-PDM-1.0"
    base = f"CC-{match['kind'].upper()}-{match['version']}"
    port = (match["port"] or "").lower()
    if port in _CC_PORTS and parse_expression(f"{base}-{port}"):
        return parse_expression(f"{base}-{port}")
    return parse_expression(base)


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
    """The expression that a licence field, classifier, licence name or Creative Commons address means, else
    None.

    A family name without its version ("BSD", "GPL") is None: the text of the licence file decides.
    """
    text = value.strip()
    if not text:
        return None
    found = parse_expression(text) or creative_commons(text)
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
