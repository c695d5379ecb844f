"""Whose a code file is: vendored, generated, minified, a test (`code@1`, with its programming language).

Rules as facts of GitHub Linguist (github-linguist/linguist): paths of vendored files (@ 00647be,
lib/linguist/vendor.yml), marks of generated files (@ 0073e49, lib/linguist/generated.rb); of tests those of
go-enry/go-enry @ b851ee8, data/test.go.  `is_generated` also takes the five phrases of the StarCoder2 report.
"""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from typing import ClassVar

import pyarrow as pa

from quality_signals.batches import CODE_KINDS, PROSE_KINDS, field
from quality_signals.code_stats import GENERATED_MARKS
from quality_signals.programming_language_detect import detect, first_lines
from quality_signals.text_batch import SharedTexts

# generated.rb, minified_files?: JavaScript and CSS with a mean line above this, in whole characters.
MINIFIED_MEAN_CHARS = 110
_FIRST_LINES, _FIRST_CHARS = 40, 20_000  # the most that a mark asks for; the characters are ours

_VENDOR_FOLDERS = re.compile(
    r"(?:^|/)(?:cache|dist|admin_media|env|gradle/wrapper|ace-builds|MathJax|Sparkle|\.google_apis|extjs"
    r"|[Vv]+endor|docs?/_?(?:build|themes?|templates?|static)|tiny_mce/(?:langs|plugins|themes|utils)"
    r"|[Cc]ode[Mm]irror/(?:\d+\.\d+/)?(?:lib|mode|theme|addon|keymap|demo))/"
    r"|^(?:[Dd]ependencies|deps|tools|debian|Carthage|Pods|vignettes|inst/extdata|puphpet"
    r"|[Tt]ests?/fixtures|[Ss]pecs?/fixtures|[Pp]ackages/.+\.\d+)/"
    r"|(?:node_modules|bower_components|Godeps/_workspace|third[-_]?party|3rd[-_]?party|vendors?|extern(?:al)?"
    r"|bootstrap-datepicker|\.xctemplate|\.imageset|(?:Crashlytics|Fabric)\.framework)/"
)
_VENDOR_SCRIPTS = re.compile(  # of names that end in .js, .css, .less, .scss or .styl
    r"(?:.*[.-]min\.(?:js|css)|\S*import\.(?:css|less|scss|styl)|bootstrap[^.]*\.(?:js|css|less|scss|styl)"
    r"|custom\.bootstrap\S*(?:js|css|less|scss|styl)"
    r"|(?:font-awesome|foundation|normalize|animate)\.(?:css|less|scss|styl)"
    r"|jquery[^.]*\.js|jquery-\d\.\d+(?:\.\d+)?\.js|jquery-ui(?:-\d\.\d+(?:\.\d+)?)?(?:\.\w+)?\.(?:js|css)"
    r"|jquery\.(?:ui|effects)\.[^.]*\.(?:js|css)|jquery\.fn\.gantt\.js|jquery\.fancybox\.(?:js|css)|fuelux\.js"
    r"|jquery\.fileupload(?:-\w+)?\.js|jquery[^.]*\.validate(?:\.unobtrusive)?\.js"
    r"|jquery[^.]*\.unobtrusive-ajax\.js|slick\.\w+.js|Leaflet\.Coordinates-\d+\.\d+\.\d+\.src\.js"
    r"|leaflet\.draw-src\.js|leaflet\.draw\.css|Control\.FullScreen\.(?:css|js)|leaflet\.spin\.js|wicket-leaflet\.js"
    r"|prototype.*\.js|(?:effects|controls|dragdrop|dojo|MochiKit|ckeditor|Chart|shCore|shLegacy|html5shiv)\.js"
    r"|mootools[^.]*\d+\.\d+.\d+[^.]*\.js|(?:yahoo-|yui)[^.]*\.js|tiny_mce[^.]*\.js|fontello.*?\.css|shBrush[^.]*\.js"
    r"|angular[^.]*\.js|d3(?:\.v\d+)?[^.]*\.js|react(?:-[^.]*)?\.js|modernizr-\d\.\d+(?:\.\d+)?\.js"
    r"|modernizr\.custom\.\d+\.js|knockout-(?:\d+\.){3}(?:debug\.)?js|.*-vsdoc\.js|.*\.intellisense\.js"
    r"|[Mm]icrosoft(?:[Mm]vc)?(?:[Aa]jax|[Vv]alidation)(?:\.debug)?\.js|cordova[^.]*\.js"
    r"|cordova-\d\.\d(?:\.\d)?\.js|.*foundation(?:\..*)?\.js|octicons\.css|sprockets-octicons\.scss)$"
)
_MINIFIED_NAME = re.compile(r"[.-]min\.(?:js|css)$")
_VENDOR_SUFFIXES = (
    ".d.ts", ".sublime-project", ".sublime-workspace", "gitattributes", "gitignore", "gitmodules", "run.n",
    "cpplint.py", "erlang.mk", "proguard.pro", "proguard-rules.pro", ".DS_Store",
)  # fmt: skip
_VENDOR_NAMES = frozenset(
    "configure config.guess config.sub aclocal.m4 libtool.m4 ltoptions.m4 ltsugar.m4 ltversion.m4 lt~obsolete.m4"
    " gradlew gradlew.bat activator activator.bat".split()
)
_VENDOR_PATHS = frozenset("rebar waf fabfile.py .osx Vagrantfile Jenkinsfile".split())  # at the root only
_BOURBON = re.compile(r"(?:^|/)[Bb]ourbon/.*\.(?:css|less|scss|styl)$")
_SCRIPTS = (".js", ".css", ".less", ".scss", ".styl")


@lru_cache(maxsize=65_536)
def _in_vendor_folder(folder: str) -> bool:
    return _VENDOR_FOLDERS.search(folder) is not None


def is_vendor(path: str) -> bool:
    """Whether the path says that the file is someone else's; `/` between folders, from the repository's root."""
    at = path.rfind("/") + 1
    name = path[at:]
    if name in _VENDOR_NAMES or path in _VENDOR_PATHS or name.endswith(_VENDOR_SUFFIXES):
        return True
    if at and _in_vendor_folder(path[:at]):
        return True
    if name.endswith(_SCRIPTS):
        return _VENDOR_SCRIPTS.match(name) is not None or _BOURBON.search(path) is not None
    return False


_TESTS = re.compile(
    r"(?:^|/)(?:tests/.*Test\.php|test/.*Tests?\.java|test(?:/|/.*/)Test.*\.java|test/.*(?:Tests?|Specs?)\.scala"
    r"|test_.*\.py|.*_test\.go|.*_(?:test|spec)\.rb|.*Tests?\.cs|.*\.(?:test|spec)\.(?:tsx?|js))$"
)
_TESTED = (".php", ".java", ".scala", ".py", ".go", ".rb", ".cs", ".ts", ".tsx", ".js")


def is_test(path: str) -> bool:
    """Whether the path is that of a test, in the languages whose tests have names of their own."""
    return path.endswith(_TESTED) and _TESTS.search(path) is not None


def is_minified(path: str, text: str) -> bool:
    """JavaScript or CSS by its name (`.min.js`), or with lines of more than 110 characters on average."""
    if not path[-4:].lower().endswith((".js", ".css")):
        return False
    if _MINIFIED_NAME.search(path):
        return True
    breaks = text.count("\n")
    return bool(text) and (len(text) - breaks) // (breaks + 1) > MINIFIED_MEAN_CHARS


_GENERATED_NAMES = re.compile(
    r"\.(?:nib|xcworkspacedata|xcuserstate)$|(?:^|/)\.idea/|(?:^|/)Pods/|(?:^|/)Carthage/Build/|node_modules/|Godeps/"
    r"|vendor/(?:(?!-)[-0-9A-Za-z]+(?<!-)\.)+(?:com|edu|gov|in|me|net|org|fm|io)"
    r"|(?i:\.designer\.(?:cs|vb)|\.feature\.cs)$"
    r"|(?:Gopkg|glide|poetry|pdm|composer|Cargo|Pipfile)\.lock|(?:^|/)(?:\w+\.)?esy\.lock$"
    r"|(?:npm-shrinkwrap|package-lock)\.json|(?:^|/)\.terraform\.lock\.hcl$|(?:^|/)\.pnp\..*$|.\.zep\.(?:c|h|php)$"
    r"|__generated__/|(?:_TLB\.pas)$|(?i:\.(?:css|js)\.map)$"
)
# Extension -> what one of the first lines holds: (lines, pattern).
_PROTO = r"Generated by the protocol buffer compiler\.  DO NOT EDIT!"
_THRIFT = r"Autogenerated by Thrift Compiler"
_BY_EXTENSION: dict[str, tuple[tuple[int, re.Pattern[str]], ...]] = {
    extension: tuple((lines, re.compile(pattern, re.M)) for lines, pattern in marks)
    for extension, marks in {
        ".py": ((3, _PROTO), (6, _THRIFT)),
        ".java": ((3, _PROTO), (6, _THRIFT), (5, r"GrammarKit|The following code was generated by JFlex"),
                  (3, r"This (?:file|class) is generated by jOOQ"),
                  (40, r"^// This is a generated file\. Not intended for manual editing\.")),
        ".h": ((3, _PROTO), (6, _THRIFT), (1, r"DO NOT EDIT THIS FILE - it is machine generated"),
               (10, r"Automatically created by Devel::PPPort|Generated by the gRPC")),
        ".c": ((1, r"Generated by Cython"), (1, r"GIMP RGBA? C-Source image dump|GIMP header image file format")),
        ".cpp": ((3, _PROTO), (6, _THRIFT), (1, r"Generated by Cython"), (1, r"^// Generated by the gRPC")),
        ".cc": ((3, _PROTO), (6, _THRIFT), (1, r"^// Generated by the gRPC")),
        ".hpp": ((1, r"^// Generated by the gRPC"),),
        ".m": ((3, _PROTO), (6, _THRIFT)),
        ".rb": ((3, _PROTO), (6, _THRIFT), (3, r"This file is automatically generated by Racc")),
        ".php": ((3, _PROTO), (6, _THRIFT), (3, r"Generated by Haxe")),
        ".go": ((40, r"^// Code generated "), (6, _THRIFT)),
        ".js": ((1, r"^// Generated by "), (5, r"/\*[^/]{0,2000}Generated by PEG\.js"),
                (1, r"parser generated by jison"),
                (6, r"GENERATED CODE -- DO NOT EDIT!"), (6, _THRIFT), (3, r"Generated by Haxe")),
        ".proto": ((20, r"This file was autogenerated by go-to-protobuf"),),
        ".g": ((2, r"generated by Xtest"),),
        ".mod": ((1, r"PCBNEW-LibModule-V"),),
        ".meta": ((1, r"fileFormatVersion: "),),
        ".asset": ((1, r"fileFormatVersion: "),),
        ".rd": ((1, r"% Generated by roxygen2"),),
        ".dart": ((1, r"GENERATED CODE - DO NOT MODIFY"),),
        ".rbi": ((5, r"^# This (?:file|is an)\b[^\n]*autogenerated"),),
        ".map": ((1, r"^\{\"version\":\d+,|^/\*\* Begin line maps\. \*\*/\{"),),
        ".ps": ((10, r"^%%Creator: [^\n]*(?:\d|draw|mpage|ImageMagick|inkscape|MATLAB|PCBNEW|pnmtops|\(Unknown\))"),),
        ".xml": ((3, r"<doc>\r?\n[ \t]*<assembly>"),),
        ".html": ((30, r"(?i:<!--[^>]{0,80}generated (?:by|automatically by) (?:javadoc|doxygen|pkgdown)"
                       r"|<meta[^>]{0,200}name=[\"']?generator[\"']?[^>]{0,200}content=[\"']?(?:org mode|j?latex2html"
                       r"|groff|makeinfo|texi2html|ronn|doxygen|sphinx))"),),
    }.items()
}  # fmt: skip
for _like, _of in (
    (".eps", ".ps"), (".pfa", ".ps"), (".htm", ".html"), (".xhtml", ".html"), (".pyi", ".py"), (".hh", ".hpp"),
):  # fmt: skip
    _BY_EXTENSION[_like] = _BY_EXTENSION[_of]
_MOST_LINES = {extension: max(lines for lines, _ in marks) for extension, marks in _BY_EXTENSION.items()}
_SOURCE_MAP = re.compile(r"^(?:/[*/][#@] source(?:Mapping)?URL|sourceURL=)", re.M)
_PHRASES = re.compile("|".join(re.escape(mark) for mark in GENERATED_MARKS), re.I)
_LOWER_PHRASES = tuple(mark.lower() for mark in GENERATED_MARKS)


def says_generated(text: str) -> bool:
    """Whether one of the five phrases of the StarCoder2 report (section 2.1) stands in the first five lines, in any
    case."""
    head = first_lines(text, 5, _FIRST_CHARS)
    if head.isascii():  # the same at a tenth of the time; of other texts re.I folds more than lower()
        lower = head.lower()
        return any([mark in lower for mark in _LOWER_PHRASES])
    return _PHRASES.search(head) is not None


@lru_cache(maxsize=65_536)
def _generated_name(path: str) -> bool:
    return _GENERATED_NAMES.search(path) is not None


def linguist_generated(path: str, text: str) -> bool:
    """Whether name or text is that of a generated file, as Linguist sees it; minified files are."""
    if _generated_name(path):
        return True
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    extension = name[dot:].lower() if dot >= 0 else ""
    marks = _BY_EXTENSION.get(extension, ())
    if marks:
        head = first_lines(text, _MOST_LINES[extension], _FIRST_CHARS)
        for lines, mark in marks:
            if mark.search(head) and mark.search(first_lines(text, lines, _FIRST_CHARS)):
                return True
    if extension in (".js", ".css"):
        if is_minified(name, text):
            return True
        tail = text[-2_000:]
        at = tail.rfind("\n", 0, max(0, tail.rfind("\n")))
        return _SOURCE_MAP.search(tail, at + 1) is not None
    if extension == ".yml":
        return "recorded_with: VCR" in text[-400:]
    return False


def is_generated(path: str, text: str) -> bool:
    """Generated as Linguist sees it, or because the first five lines say so."""
    return linguist_generated(path, text) or says_generated(text)


SCHEMA = pa.schema(
    [
        field("programming_language", pa.string(), "given with the document, else told; as GitHub Linguist spells it"),
        field(
            "language_by", pa.string(), "given with the document, else name, extension, shebang, modeline or content"
        ),
        field("is_vendor", pa.bool_(), "the path is that of a third party's file; null without a path"),
        field("is_generated", pa.bool_(), "name or first lines are those of a generated file"),
        field("is_minified", pa.bool_(), "JavaScript or CSS without line breaks"),
        field("is_test", pa.bool_(), "the path is that of a test; null without a path"),
    ]
)


@dataclasses.dataclass(frozen=True)
class CodeFiles:
    """Language and flags; time linear in the text for minified files, else in its first and last lines.

    Documents of other `kinds` have nulls, and prose without a path (a README with one is a file of its project).
    """

    kinds: tuple[str, ...] = (*CODE_KINDS, *PROSE_KINDS)

    name: ClassVar[str] = "code@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        paths = [None if path is None else path.replace("\\", "/") for path in texts.column("path")]
        files = zip(paths, texts.strings, texts.column("programming_language"), texts.column("kind"), strict=True)
        rows = [
            (None,) * len(SCHEMA) if path is None and kind in PROSE_KINDS else _row(path, text, given)
            for path, text, given, kind in files
        ]
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        return pa.RecordBatch.from_arrays(
            [texts.scatter(pa.array(list(column), each.type)) for column, each in zip(columns, SCHEMA, strict=True)],
            schema=SCHEMA,
        )


def _row(path: str | None, text: str, given: str | None) -> tuple[object, ...]:
    language, by = (given, "given") if given else detect(path, text)
    generated, minified = is_generated(path or "", text), is_minified(path or "", text)
    if path is None:
        return language, by, None, generated, minified, None
    return language, by, is_vendor(path), generated, minified, is_test(path)
