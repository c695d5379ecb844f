"""How much one item, one archive and one page may cost.  Every bound is a count, never a clock.

A limit on time would make the result depend on the machine; these limits bound the time instead, and the same
input meets the same limit everywhere.
"""

from __future__ import annotations

import dataclasses

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the readers; all sizes in bytes of uncompressed content unless said otherwise."""

    # One page, line, record or file.  Common Crawl cuts payloads at 1 MiB (5 MiB since 2025), so 64 MiB is
    # not a page.
    max_item_bytes: int = 64 * MIB
    # One source file: The Stack v2 downloads blobs under 10 MB (StarCoder2 report, section 2.1).
    max_code_bytes: int = 10_000_000
    # Uncompressed bytes per compressed byte.  Text reaches 5 to 20; deflate cannot pass 1032.
    max_ratio: float = 200.0
    # Below this size no ratio is judged: what it inflates to does no harm.
    ratio_floor_bytes: int = 8 * MIB
    # All members of one archive, or all of one compressed stream.
    max_archive_bytes: int = 64 << 30
    # The Stack v2 accepts at most 1 M entries in a directory (StarCoder2 report, section 2.1).
    max_members: int = 1_000_000
    # A licence or metadata file of a project; the longest SPDX licence text has about 100 kB.
    max_project_file_bytes: int = 1 * MIB
    # Above either, a page goes to the fast extractor: trafilatura 2.3.1 takes 2.8 s for 50,000 paragraphs
    # (measured), and the largest of 1,165 sample pages has 19,697 tags and 2.9 MB.
    careful_html_bytes: int = 4 * MIB
    careful_html_tags: int = 50_000
    # Above any of these a page is rejected as too_large: the extractors are quadratic in depth and in
    # attributes. resiliparse 2.0.1 takes 0.5 s at depth 5,000 and 10 s at 20,000; 10,000 attributes take 0.9
    # s (measured).
    max_html_bytes: int = 16 * MIB
    max_html_tags: int = 500_000
    max_html_depth: int = 5_000
    max_tag_attributes: int = 10_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"limit {field.name} must be positive, not {getattr(self, field.name)}")
