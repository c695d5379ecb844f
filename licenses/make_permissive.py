"""Builds data/permissive.csv, the ids that `stack_v2@1` takes for permissive, from the lists that it was made of.

    python -m licenses.make_permissive BLUE_OAK_JSON

BLUE_OAK_JSON: index.json of the npm package @blueoak/list 15.0.0 (Blue Oak Council's licence list, CC0-1.0): every
rated licence, from Model to Lead.  The categories Permissive and Public Domain come from ScanCode's licence index
(LicenseDB, CC-BY-4.0) as the installed license-expression ships it.

Columns: spdx_id (ScanCode's LicenseRef where SPDX has none), blue_oak (rating or empty), scancode (category or empty).
"""

from __future__ import annotations

import csv
import json
import sys
from importlib import resources
from pathlib import Path

PERMISSIVE_CATEGORIES = ("Permissive", "Public Domain")


def main(blue_oak: str) -> None:
    """Writes data/permissive.csv beside this file and prints how many ids it holds."""
    rated: dict[str, str] = {}
    for group in json.loads(Path(blue_oak).read_text(encoding="utf-8")):
        for entry in group["licenses"]:
            rated.setdefault(entry["id"], group["name"])
    index = resources.files("license_expression").joinpath("data/scancode-licensedb-index.json")
    category: dict[str, str] = {}
    for entry in json.loads(index.read_text(encoding="utf-8")):
        if entry["category"] in PERMISSIVE_CATEGORIES and not entry["is_exception"]:
            for key in (entry["spdx_license_key"], *entry["other_spdx_license_keys"]):
                if key:
                    category.setdefault(key, entry["category"])
    ids = sorted({*rated, *category}, key=lambda each: (each.lower(), each))
    target = Path(__file__).parent / "data" / "permissive.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("spdx_id", "blue_oak", "scancode"))
        rows.writerows((each, rated.get(each, ""), category.get(each, "")) for each in ids)
    print(f"{len(ids)} ids: {len(rated)} rated by Blue Oak, {len(category)} permissive for ScanCode")


if __name__ == "__main__":
    main(*sys.argv[1:])
