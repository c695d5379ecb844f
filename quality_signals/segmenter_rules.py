"""How each language of `segmenters` finds its words: functions text -> `Placed`, made by what loads a package.

Every function takes time linear in the text, also where the package itself does not.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import re
import string
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# The packages see at most so many characters at a time, cut after the last line break or white space: some keep
# kilobytes for each character.  Words of longer texts may differ from the reference's at the cuts.
MAX_PIECE_CHARS = 100_000
# A run of more characters than this without white space is one word for the pattern of Vietnamese, whose time
# grows with the square of the run.
MAX_RUN_CHARS = 2_000
# datatrove splits Japanese text into parts of about so many bytes, which Sudachi accepts.
JAPANESE_BYTES = 40_000

ZERO_WIDTH = "\u200b\u200a"  # left out by the Khmer tokenizer: zero width space, hair space


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """Words and where they stand: word i is text[starts[i]:ends[i]], but for those in `other`.

    A tokenizer may leave characters out of a word (a space, a line break); then the span reaches from its first
    to its last character and `other` has the word.  Words may overlap (Korean), but start in order.
    """

    starts: list[int]
    ends: list[int]
    other: dict[int, str]


Placing = Callable[[str], Placed]


def place(text: str, words: Iterable[str], skipped: str = "") -> Placed:
    """Where the words of a text stand that follow one another, with white space and `skipped` characters left
    out between and in them.  Time: linear."""
    starts: list[int] = []
    ends: list[int] = []
    other: dict[int, str] = {}
    at, last = 0, len(text)

    def is_skipped(character: str) -> bool:
        return character.isspace() or character in skipped

    for word in words:
        while at < last and text[at] != word[0] and is_skipped(text[at]):
            at += 1
        if text.startswith(word, at):
            starts.append(at)
            at += len(word)
        else:
            start = here = at
            for character in word:
                while here < last and text[here] != character and is_skipped(text[here]):
                    here += 1
                if here < last and text[here] == character:
                    start = here if here == at else start
                    here += 1
            starts.append(start)
            other[len(ends)] = word
            at = here
        ends.append(at)
    return Placed(starts, ends, other)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of at most MAX_PIECE_CHARS characters, with their first positions."""
    start = 0
    while len(text) - start > MAX_PIECE_CHARS:
        end = start + MAX_PIECE_CHARS
        cut = text.rfind("\n", start, end) + 1
        if cut <= start:
            blanks = [match.end() for match in re.finditer(r"\s", text[end - 1_000 : end])]
            cut = end - 1_000 + blanks[-1] if blanks else end
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def _by_words(cut: Callable[[str], Iterable[str]], skipped: str = "") -> Placing:
    """A placing function from one that gives the words of a text, white space among them or not."""

    def placed(text: str) -> Placed:
        whole = Placed([], [], {})
        for first, piece in _pieces(text):
            words = [stripped for word in cut(piece) if (stripped := word.strip())]
            part = place(piece, words, skipped)
            for number, word in part.other.items():
                whole.other[len(whole.starts) + number] = word
            whole.starts.extend(first + at for at in part.starts)
            whole.ends.extend(first + at for at in part.ends)
        return whole

    return placed


# Chinese ----------------------------------------------------------------------------------------------------


# jieba splits such blocks (jieba/__init__.py, re_han_default) each on its own, in time that grows with the square
# of a block of rare characters; longer ones are cut.
MAX_BLOCK_CHARS = 5_000
_LONG_BLOCK = re.compile(rf"[\u4e00-\u9fd5a-zA-Z0-9+#&._%\-]{{{MAX_BLOCK_CHARS + 1},}}")


def chinese() -> Placing:
    """jieba's precise mode with its hidden Markov model, as spaCy 3.8 calls it (spacy/lang/zh)."""
    jieba = importlib.import_module("jieba")
    tokenizer = jieba.Tokenizer()
    # Its `initialize` would read a cache file that anyone may have put into the folder for temporary files.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True

    def cut(text: str) -> Iterator[str]:
        start = 0
        for block in _LONG_BLOCK.finditer(text):
            for end in range(block.start() + MAX_BLOCK_CHARS, block.end(), MAX_BLOCK_CHARS):
                yield from tokenizer.cut(text[start:end], cut_all=False)
                start = end
        yield from tokenizer.cut(text[start:], cut_all=False)

    return _by_words(cut)


# Japanese ---------------------------------------------------------------------------------------------------


def japanese_parts(text: str, most: int = JAPANESE_BYTES) -> Iterator[tuple[int, str]]:
    """The parts in which datatrove hands a text to Sudachi (its chunk_text_on_bytes), in linear time.

    Each part starts with a guess of its characters from the text's mean bytes a character; the guess loses 10
    characters while its bytes are more than `most`, for the later parts too, and the part gains 10 while they
    are fewer.
    """
    if not text:
        return
    guess = int(max(most * (len(text) / len(text.encode())) - 10, 1))
    start = 0
    while start < len(text):
        size = len(text[start : start + guess].encode())
        while size > most:
            less = max(guess - 10, 1)
            size -= len(text[start + less : start + guess].encode())
            guess = less
        end = start + guess
        at_end = min(end, len(text))
        while size < most and at_end < len(text):
            end = min(len(text), end + 10)
            size += len(text[at_end:end].encode())
            at_end = end
        if size > most:
            end -= 10
        yield start, text[start:end]
        start = end


def japanese() -> Placing:
    """SudachiPy with its core dictionary in mode A, as datatrove's own copy of spaCy's tokenizer calls it
    (src/datatrove/utils/japanese_tokenizer.py)."""
    sudachi = importlib.import_module("sudachipy")
    tokenizer = sudachi.Dictionary(dict="core").tokenizer(mode=sudachi.SplitMode.A)

    def placed(text: str) -> Placed:
        starts, ends = [], []
        for first, part in japanese_parts(text):
            for morpheme in tokenizer.tokenize(part):
                low, high = _stripped(part, morpheme.begin(), morpheme.end())
                if low < high:
                    starts.append(first + low)
                    ends.append(first + high)
        return Placed(starts, ends, {})

    return placed


def _stripped(text: str, low: int, high: int) -> tuple[int, int]:
    while low < high and text[high - 1].isspace():
        high -= 1
    while low < high and text[low].isspace():
        low += 1
    return low, high


# Korean -----------------------------------------------------------------------------------------------------

# datatrove leaves such runs out before Kiwi sees the text, but reads the words at Kiwi's places in the whole
# text: after such a run all words are off by its length, here as there.
_LONG_NUMBERS = re.compile("[0-9,]{20,}")


def korean() -> Placing:
    """Kiwi with its "sbg" model, whose words are morphemes: those of a contraction overlap."""
    kiwi = importlib.import_module("kiwipiepy").Kiwi(model_type="sbg", num_workers=1)

    def placed(text: str) -> Placed:
        starts: list[int] = []
        ends: list[int] = []
        for first, piece in _pieces(text):
            for token in kiwi.tokenize(_LONG_NUMBERS.sub("", piece)):
                low, high = _stripped(piece, token.start, token.end)
                if low < high:
                    starts.append(first + low)
                    ends.append(first + high)
        return Placed(starts, ends, {})

    return placed


# Thai and Lao -----------------------------------------------------------------------------------------------

# PyThaiNLP's newmm-safe and LaoNLP cut a text of this many characters or more at one of the characters 100 to
# 139 (pythainlp/tokenize/newmm.py, laonlp/tokenize/multi_cut.py).
_SCAN_BEGIN, _SCAN_END = 100, 140
# PyThaiNLP joins numbers such as 12:00 and 1,234.5 (pythainlp/tokenize/_utils.py).
_FORMATTED_NUMBER = re.compile(r"(?<!\d)\d++(?:[.,:]\d++)+")


def _windows(text: str, cut: Callable[[str], list[str]], last_longest: bool) -> Iterator[str]:
    """The parts of a long text that are split on their own: after a blank, or before the longest word of the
    window; `last_longest`: the last such word, not the first.  The packages copy the rest of the text for each
    part; this does not."""
    start = 0
    while len(text) - start >= _SCAN_END:
        window = text[start + _SCAN_BEGIN : start + _SCAN_END]
        size = _SCAN_BEGIN + window.rfind(" ") + 1
        if size == _SCAN_BEGIN:
            words = cut(window)
            longest = max(map(len, words), default=0)
            places = [i for i, word in enumerate(words) if len(word) == longest]
            size += sum(map(len, words[: places[-1 if last_longest else 0]]))
        yield text[start : start + size]
        start += size
    yield text[start:]


def joined_numbers(words: list[str]) -> list[str]:
    """Words with the parts of a formatted number put together."""
    numbers = _FORMATTED_NUMBER.finditer("".join(words))
    number = next(numbers, None)
    joined: list[str] = []
    at = i = 0
    while i < len(words) and number:
        if at < number.start():
            joined.append(words[i])
            at += len(words[i])
            i += 1
            continue
        first = i
        while at < number.end() and i < len(words):
            at += len(words[i])
            i += 1
        if first < i:
            joined.append("".join(words[first:i]))
        number = next(numbers, None)
    return joined + words[i:]


def thai() -> Placing:
    """PyThaiNLP's word_tokenize with the engine newmm-safe."""
    segment = importlib.import_module("pythainlp.tokenize.newmm").segment

    def cut(text: str) -> list[str]:
        return joined_numbers([word for part in _windows(text, segment, True) for word in segment(part)])

    return _by_words(cut)


_NOT_LAO = re.compile(r"[-a-zA-Z]+|\d+(?:[,.]\d+)*|[ \t]+|\r?\n")


def lao_words(text: str, prefixes: Callable[[str], list[str]]) -> list[str]:
    """The division of a short text into the fewest dictionary words, as LaoNLP's multi_cut finds it.

    prefixes: the dictionary words that begin a text, in the dictionary's order.  The package tries every way
    from one place that all ways pass to the next, which may be billions; here the best rest is kept for each
    place.  As there, "/" divides words and is lost.
    """
    found: dict[int, list[str]] = {}
    words: list[str] = []
    open_ = {0}
    done = 0

    def divide(low: int, high: int) -> None:
        fewest: dict[int, tuple[int, str]] = {high: (0, "")}
        for at in sorted((p for p in found if low <= p < high), reverse=True):
            ways = [
                (word.count("/") + 1 + fewest[at + len(word)][0], word)
                for word in found[at]
                if at + len(word) in fewest
            ]
            if ways:
                fewest[at] = min(ways, key=lambda way: way[0])
        while low < high:
            word = fewest[low][1]
            words.extend(word.split("/"))
            low += len(word)

    while (at := min(open_)) < len(text):
        open_.remove(at)
        found[at] = prefixes(text[at:])
        open_.update(at + len(word) for word in found[at])
        if len(open_) == 1:
            divide(done, min(open_))
            done = min(open_)
        elif not open_:
            match = _NOT_LAO.match(text, at)
            if match:
                end = match.end()
            else:
                begins = (i for i in range(at + 1, len(text)) if _NOT_LAO.match(text, i) or prefixes(text[i:]))
                end = next(begins, len(text))
            words.extend(text[at:end].split("/"))
            done = end
            open_.add(end)
    return words


def lao() -> Placing:
    """LaoNLP's word_tokenize."""
    dictionary = importlib.import_module("laonlp.corpus").lao_words()
    trie = importlib.import_module("pythainlp.util").Trie(dictionary)

    def segment(text: str) -> list[str]:
        return lao_words(text, trie.prefixes)

    return _by_words(lambda text: [word for part in _windows(text, segment, False) for word in segment(part)])


# Vietnamese -------------------------------------------------------------------------------------------------

# spaCy's pattern for pyvi (spacy/lang/vi): abbreviations, arrows, addresses, numbers, signs, syllables.
_SYLLABLES = r"[A-ZĐ]+\.|(?:Tp|Mr|Mrs|Ms|Dr|ThS)\.|==>|->|\.\.\.|>>|\w+://\S+|{email}\d+(?:[.,_]\d+)+|[^\w\s]|\w+"
_PLAIN_SYLLABLES = re.compile(_SYLLABLES.format(email=""))
_MAIL_SYLLABLES = re.compile(_SYLLABLES.format(email=r"[a-zA-Z0-9_.+-]+@(?:[a-zA-Z0-9-]+\.)+[a-zA-Z0-9-]+|"))
_RUNS = re.compile(r"\S+")


def _syllables(text: str) -> tuple[list[int], list[int]]:
    starts: list[int] = []
    ends: list[int] = []
    for run in _RUNS.finditer(text):
        low, high = run.span()
        if high - low > MAX_RUN_CHARS:
            starts.append(low)
            ends.append(high)
            continue
        pattern = _MAIL_SYLLABLES if "@" in run.group() else _PLAIN_SYLLABLES
        for match in pattern.finditer(text, low, high):
            starts.append(match.start())
            ends.append(match.end())
    return starts, ends


def vietnamese() -> Placing:
    """pyvi's model over syllables, as spaCy 3.8 calls it: a word keeps its blanks."""
    pyvi = importlib.import_module("pyvi.ViTokenizer").ViTokenizer

    def placed(text: str) -> Placed:
        starts: list[int] = []
        ends: list[int] = []
        for first, piece in _pieces(text):
            lows, highs = _syllables(piece)
            if not lows:
                continue
            syllables = [piece[a:b] for a, b in zip(lows, highs, strict=True)]
            labels = pyvi.model.predict([pyvi.sent2features(syllables, False)])[0]
            begins = [True]
            for before, now, label in zip(syllables[:-1], syllables[1:], labels[1:], strict=True):
                joins = (
                    label == "I_W"
                    and now not in string.punctuation
                    and before not in string.punctuation
                    and not now[0].isdigit()
                    and not before[0].isdigit()
                    and not (now[0].istitle() and not before[0].istitle())
                )
                begins.append(not joins)
            starts += [first + low for low, begin in zip(lows, begins, strict=True) if begin]
            ends += [first + high for high, begin in zip(highs, [*begins[1:], True], strict=True) if begin]
        return Placed(starts, ends, {})

    return placed


# Khmer and Burmese ------------------------------------------------------------------------------------------


def khmer() -> Placing:
    """khmer-nltk's model over clusters of characters; line breaks and zero width spaces are left out."""
    tokenize = importlib.import_module("khmernltk").word_tokenize
    logging.getLogger("khmer-nltk").setLevel(logging.WARNING)  # it reports each start on standard error

    def cut(text: str) -> list[str]:
        return tokenize(text, return_tokens=True) if text.strip("\u200b").strip() else []

    return _by_words(cut, ZERO_WIDTH)


def burmese_model() -> Path | None:
    """Where pyidaungsu keeps its model.  The package itself is not imported: it loads fasttext, and the build
    that it asks for would replace fasttext-predict."""
    spec = importlib.util.find_spec("pyidaungsu")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / "model" / "tokenizer.crfsuite"
        if file.is_file():
            return file
    return None


# The characters around a place that are put together to features, as offsets (pyidaungsu/tokenize.py).
_AROUND = ((0,), (-1,), (-1, 0), (-2,), (-2, 0), (-2, -1), (-3, 0), (-3, -1))
_AFTER = ((1,), (0, 1), (2,), (0, 2), (1, 2), (0, 3), (1, 3))


def _burmese_features(text: str) -> Iterator[list[str]]:
    """For each character what the model knows of it, in the order of the package."""
    before, after = ([(low, (rest or [low])[0]) for low, *rest in places] for places in (_AROUND, _AFTER))
    names = {place: _feature_name(*place) for place in before + after}
    last = len(text) - 1
    for i in range(len(text)):
        features = ["bias"]
        features += [names[low, high] + text[i + low : i + high + 1] for low, high in before if i + low >= 0]
        if i == 0:
            features.append("BOS")
        if i == last:
            features.append("EOS")
        features += [names[low, high] + text[i + low : i + high + 1] for low, high in after if i + high <= last]
        yield features


def _feature_name(low: int, high: int) -> str:
    def named(offset: int) -> str:
        return f"{offset:+d}" if offset else ""

    if low == high:
        return f"char{named(low)}="
    return f"char{named(low)}:{named(high) or '0'}="


def burmese() -> Placing:
    """pyidaungsu's model over characters: blanks are left out, and words end at other white space too."""
    tagger = importlib.import_module("pycrfsuite").Tagger()
    tagger.open(str(burmese_model()))

    def cut(text: str) -> list[str]:
        joined = text.replace(" ", "")
        labels = tagger.tag(_burmese_features(joined)) if joined else []
        return "".join(" " + c if label == "1" else c for c, label in zip(joined, labels, strict=True)).split()

    return _by_words(cut)


# Indic languages and Urdu -----------------------------------------------------------------------------------

# indic-nlp-library 0.92, indicnlp/tokenize/indic_tokenize.py: signs that are words of their own.
INDIC_SIGNS = string.punctuation + "\u0964\u0965\uaaf1\uaaf0\uabeb\uabec\uabed\uabee\uabef\u1c7e\u1c7f"
URDU_SIGNS = string.punctuation + "\u0609\u060a\u060c\u061e\u066a\u066b\u066c\u066d\u06d4"
_NUMBER_SIGNS = ",.:/"
_DIGITS = re.compile(r"[0-9]++")


def sign_splitter(signs: str, numbers: bool) -> Placing:
    """Words between blanks, tabs and signs; other white space stands in words, but for their ends.

    numbers: whether a number with separators (3.5, 1/2/2024) is one word, its blanks left out.  A number that
    begins the text is not, as in the reference.
    """
    pattern = re.compile(f"[{re.escape(signs)}]|[^ \t{re.escape(signs)}]+")

    def placed(text: str) -> Placed:
        spans = [match.span() for match in pattern.finditer(text)]
        joins = _number_joins(text, spans) if numbers else set()
        result = Placed([], [], {})
        i = 0
        while i < len(spans):
            first = i
            while i in joins:
                i += 1
            low, high = _stripped(text, spans[first][0], spans[i][1])
            if low < high:
                word = "".join(text[a:b] for a, b in spans[first : i + 1]).strip()
                if len(word) != high - low:
                    result.other[len(result.starts)] = word
                result.starts.append(low)
                result.ends.append(high)
            i += 1
        return result

    return placed


def _number_joins(text: str, spans: list[tuple[int, int]]) -> set[int]:
    """Numbers of the words that are put together with the next one."""
    joins: set[int] = set()
    i = 0
    low = -1  # where a match may start in word i: not before the end of the one before
    while i + 2 < len(spans):
        begin, end = spans[i]
        digits = _last_digits(text, max(begin, low), end)
        if digits is None or not _is_sign(text, spans[i + 1]):
            i += 1
            continue
        j = i
        match = None
        while j + 2 < len(spans) and _is_sign(text, spans[j + 1]):
            found = _DIGITS.match(text, *spans[j + 2])
            if found is None:
                break
            match, j = found, j + 2
            if found.end() != spans[j][1]:
                break
        if match is None:
            i += 1
            continue
        if not (i == 0 and digits == begin):
            joins.update(range(i, j))
        i, low = j, match.end()
    return joins


def _is_sign(text: str, span: tuple[int, int]) -> bool:
    return span[1] - span[0] == 1 and text[span[0]] in _NUMBER_SIGNS


def _last_digits(text: str, low: int, high: int) -> int | None:
    """Where the digits that end text[low:high] begin."""
    at = high
    while at > low and "0" <= text[at - 1] <= "9":
        at -= 1
    return at if at < high else None
