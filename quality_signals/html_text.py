"""What a reader of an HTML file sees, by Beautiful Soup as StarCoder did.

bigcode-dataset @ bebec92, preprocessing/filtering.py, `filter_html`.
"""

from __future__ import annotations

# Above either, the tree is not built: Beautiful Soup keeps some 500 bytes a tag, and recursion ends at the
# interpreter's limit.
MAX_CHARS = 10_000_000


def visible_text(html: str) -> str | None:
    """The text without scripts and styles; None where the parser gives up.  Raises ImportError without the extra."""
    try:
        import bs4
        from bs4.builder import ParserRejectedMarkup
    except ImportError as error:
        raise ImportError("visible text of HTML needs Beautiful Soup: pip install 'gristmill[code]'") from error
    import warnings

    if len(html) > MAX_CHARS:
        return None
    if "<" not in html and "&" not in html and html.strip():
        return html  # one string, as it stands
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of text that looks like a URL, a file name or XML
            soup = bs4.BeautifulSoup(html, features="html.parser")
        for element in soup(["script", "style"]):
            element.extract()
        return soup.get_text()
    except (TypeError, UnboundLocalError, AssertionError, RecursionError, ParserRejectedMarkup):
        return None
