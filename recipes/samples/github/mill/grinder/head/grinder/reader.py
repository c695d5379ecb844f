"""Tables as rows of words."""

SEPARATORS = ("\t", ";", ",")
COMMENT = "#"


def separator_of(line):
    """The separator that divides a line into most words; None where there is none."""
    counts = {separator: line.count(separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=counts.__getitem__)
    return best if counts[best] else None


def words_of(line, separator):
    """The words of a line without the white space around them."""
    return [word.strip() for word in line.rstrip("\n").split(separator)]


def is_comment(line):
    return line.lstrip().startswith(COMMENT)


def named(header, row):
    """Names of columns -> words; words without a name go."""
    return dict(zip(header, row, strict=False))


def read_tables(paths):
    """The rows of several files, one after the other."""
    for path in paths:
        yield from open_rows(path)


def open_rows(path):
    """The rows of a file, the first of which names the columns; none of an empty one."""
    rows = list(path.open())
    if not rows:
        return []
    first = rows[0]
    separator = separator_of(first)
    header = words_of(first, separator)
    return [named(header, words_of(row, separator)) for row in rows[1:] if not is_comment(row)]
