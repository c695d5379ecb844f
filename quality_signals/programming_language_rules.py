"""What a text holds that tells its programming language, as tables of patterns.

Patterns are linear, or bounded, in the text: no repetition crosses a line without a limit.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class AnyOf(NamedTuple):
    """Patterns one of which is to be found; apart they begin with letters that are looked for fast."""

    patterns: tuple[re.Pattern[str], ...]

    @property
    def flags(self) -> int:
        return re.M

    def search(self, text: str) -> re.Match[str] | None:
        for pattern in self.patterns:  # no generator: this is asked of every file without a telling name
            if found := pattern.search(text):
                return found
        return None

    def match(self, text: str, at: int) -> re.Match[str] | None:
        return next((found for pattern in self.patterns if (found := pattern.match(text, at))), None)


_Pattern = re.Pattern[str] | AnyOf


def _of_line(*patterns: str) -> AnyOf:
    """Any of the patterns.  `^` at the start becomes a newline, which is found fast: the text must begin with one."""
    starts = [pattern.removeprefix("^") for pattern in patterns if pattern.startswith("^")]
    others = [pattern for pattern in patterns if not pattern.startswith("^")]
    lines = ["\\n(?:" + "|".join(f"(?:{pattern})" for pattern in starts) + ")"] if starts else []
    return AnyOf(tuple(re.compile(pattern, re.M) for pattern in (*lines, *others)))


# Extension -> (language, what its text holds), the first that fits; a pattern of None always does.  Which languages
# share an extension and by what they are told is Linguist's (lib/linguist/heuristics.yml @ 008d3f9).
_CPP = _of_line(
    r"^[ \t]*#[ \t]*include[ \t]+<(?:cstdint|string|vector|map|list|array|bitset|queue|stack|set|tuple|utility|memory"
    r"|algorithm|functional|[io]?[sf]?stream|limits|thread|mutex|type_traits|unordered_map)>",
    r"^[ \t]*template[ \t]*<",
    r"^[ \t]*(?:try|constexpr|using[ \t]+namespace|using[ \t]+\w+[ \t]*=)",
    r"^[ \t]*class[ \t]+\w+(?:[ \t]*[:{;]|[ \t]+\w+[ \t]*[:{]|$)",
    r"^[ \t]*(?:public|private|protected):$",
    r"^[ \t]*(?:inline[ \t]+)?namespace\b[ \t\w:]*(?:\{|$)",
    r"std::\w+",
)
_OBJECTIVE_C = _of_line(
    r"^[ \t]*@(?:interface|class|protocol|property|end|synchronised|selector|implementation)\b",
    r"^#import[ \t]+[<\"]",
)
_RAKU = _of_line(r"^[ \t]*(?:use[ \t]+v6\b|unit[ \t]+(?:module|class)\b|my[ \t]+class\b|class[ \t]+\w)")
_PERL = _of_line(
    r"^[ \t]*(?:use|no|require)[ \t]+(?:strict\b|warnings\b|v?5\b|[A-Z]\w)",
    r"^[ \t]*(?:sub|package|my|our)[ \t]+[\w$@%(]",
)
_FORTRAN = re.compile(r"\n(?:[c*][^abd-z\n]|      (?:subroutine|program|end|data)\b|[ \t]*!)", re.M | re.I)
_MANUAL = _of_line(r"^[.'][ \t]*(?:TH|Dt)\b")
HEURISTICS: dict[str, tuple[tuple[str, _Pattern | None], ...]] = {
    ".as": (
        ("ActionScript", _of_line(r"^[ \t]*(?:package|import|public|private|function|var)\b")),
        ("AngelScript", None),
    ),
    ".asm": (
        ("Motorola 68K Assembly", re.compile(r"\n[ \t]+(?:move|moveq|lea|bsr|cmp)\.[bwl]\b", re.M | re.I)),
        ("Assembly", None),
    ),
    ".bb": (
        ("BlitzBasic", _of_line(r"^[ \t]*End Function")),
        ("Clojure", re.compile(r"\((?:def|defn|defmacro|let|ns)\s")),
        ("BitBake", None),
    ),
    ".cl": (
        ("Common Lisp", re.compile(r"\n[ \t]*\((?:defun|in-package|defpackage|let|setf?) ", re.M | re.I)),
        ("Cool", _of_line(r"^class\b")),
        ("OpenCL", None),
    ),
    ".cls": (
        ("TeX", _of_line(r"^[ \t]*\\(?:NeedsTeXFormat|ProvidesClass)\b")),
        ("VBA", _of_line(r"^(?:VERSION [\d.]+ CLASS|Attribute VB_)")),
        ("ObjectScript", _of_line(r"^Class[ \t][%\w.]+")),
        (
            "OpenEdge ABL",
            re.compile(r"\n[ \t]*(?:using|routine-level|class)[ \t]+[\w.-]+[^{\n]*[.:][ \t]*$", re.M | re.I),
        ),
        ("Apex", None),
    ),
    ".cs": (("Smalltalk", re.compile(r"![\w ]{1,80}methodsFor: ")), ("C#", None)),
    ".d": (
        ("DTrace", _of_line(r"^(?:\w*:\w*:\w*:\w*|BEGIN|END|#pragma[ \t]+D[ \t])", r"^#![^\n]*dtrace")),
        ("Makefile", _of_line(r"^[\w/.-]+\.o:[ \t]", r": \\$")),
        ("D", None),
    ),
    ".e": (
        ("E", _of_line(r"^[ \t]*(?:def|var|to)[ \t]+\w[^\n]*(?::=|\{)[ \t]*$")),
        ("Euphoria", _of_line(r"^[ \t]*(?:export[ \t]+)?(?:procedure|with[ \t]+trace|include[ \t]+std)\b")),
        ("Eiffel", None),
    ),
    ".ex": (("Euphoria", _of_line(r"^[ \t]*(?:include[ \t]+\w+\.e|end procedure|end function)\b")), ("Elixir", None)),
    ".f": (("Forth", _of_line(r"^: ")), ("Filebench WML", re.compile(r"\bflowop\b")), ("Fortran", None)),
    ".for": (("Forth", _of_line(r"^: ")), ("Fortran", None)),
    ".fs": (
        ("Forth", _of_line(r"^(?:: |new-device)")),
        ("GLSL", _of_line(r"^[ \t]*(?:#version|precision|uniform|varying|vec[234])\b")),
        ("Filterscript", _of_line(r"^#pragma[ \t]+(?:rs|version)\b")),
        ("F#", None),
    ),
    ".ftl": (("FreeMarker", re.compile(r"<#|\$\{|<\w")), ("Fluent", None)),
    ".gd": (("GAP", _of_line(r"^(?:Declare\w+|BindGlobal)\(")), ("GDScript", None)),
    ".gml": (
        ("XML", re.compile(r"\A\s{0,80}(?:<\?xml|<[\w:]+ xmlns)")),
        ("Graph Modeling Language", re.compile(r"\n[ \t]*(?:graph|node)[ \t]*\[", re.M | re.I)),
        ("Game Maker Language", None),
    ),
    ".h": (("Objective-C", _OBJECTIVE_C), ("C++", _CPP), ("C", None)),
    ".hx": (("Hy", re.compile(r"\n\((?:import|defn|require)\b", re.M)), ("Haxe", None)),
    ".i": (("SWIG", _of_line(r"^[ \t]*%[a-z_]+\b", r"^%[{}]$")), ("Assembly", None)),
    ".inc": (
        ("PHP", re.compile(r"\A\s{0,80}<\?(?:php|\s)")),
        ("POV-Ray SDL", _of_line(r"^[ \t]*#(?:declare|local|macro|while)\b")),
        ("SourcePawn", _of_line(r"^(?:native|stock|forward|methodmap|public)[ \t]")),
        ("Pascal", re.compile(r"^[ \t]*\{\$(?:mode|ifdef|define)|^[ \t]*end[.;][ \t]*$", re.M | re.I)),
        ("BitBake", _of_line(r"^inherit[ \t]+[\w.-]+")),
        ("Assembly", None),
    ),
    ".j": (("Jasmin", _of_line(r"^[ \t]*\.(?:class|super|method|source|bytecode)\b")), ("Objective-J", None)),
    ".jq": (("JSONiq", _of_line(r"^[ \t]*(?:jsoniq|xquery)[ \t]+version", r"^declare[ \t]")), ("jq", None)),
    ".l": (
        ("Common Lisp", re.compile(r"\(def(?:un|macro)\s")),
        ("Roff", _of_line(r"^\.[A-Za-z]{2}(?:\s|$)")),
        ("PicoLisp", _of_line(r"^\((?:de|class|rel|code|data|must)\s")),
        ("Lex", None),
    ),
    ".lisp": (("NewLisp", _of_line(r"^[ \t]*\((?:define|context)[ \t]")), ("Common Lisp", None)),
    ".lsp": (("NewLisp", _of_line(r"^[ \t]*\((?:define|context)[ \t]")), ("Common Lisp", None)),
    ".m": (
        ("Objective-C", _OBJECTIVE_C),
        ("Mercury", re.compile(r":- module\b")),
        ("MUF", _of_line(r"^: ")),
        ("M", _of_line(r"^[ \t]*;", r"^\w+[ \t]*;")),
        ("Mathematica", re.compile(r"\(\*[^*]{0,300}\*\)|:=[ \t]*(?:Module|Block)\[|\w\[\w*_")),
        ("MATLAB", _of_line(r"^[ \t]*%", r"^[ \t]*function\b", r"^[ \t]*end[ \t]*;?$")),
        ("Limbo", _of_line(r"^\w+[ \t]*:[ \t]*module[ \t]*\{")),
        ("Objective-C", None),
    ),
    ".m4": (("M4Sugar", re.compile(r"\bAC_DEFUN\b|\bAC_INIT\b|AS_INIT|m4_(?:init|define)\b")), ("M4", None)),
    ".ml": (("Standard ML", re.compile(r"=> |\bcase\b[^\n]{1,200}\bof\b|^structure\b", re.M)), ("OCaml", None)),
    ".mod": (
        ("XML", re.compile(r"<!ENTITY ")),
        ("Modula-2", re.compile(r"\n[ \t]*(?:MODULE|END) [\w.]+;", re.M | re.I)),
        ("Go Module", _of_line(r"^module[ \t]+[\w./-]+$")),
        ("AMPL", None),
    ),
    ".mo": (("Motoko", _of_line(r"^[ \t]*(?:actor|import[ \t]+\w+[ \t]+\"mo:)")), ("Modelica", None)),
    ".n": (("Roff", _of_line(r"^[.']")), ("Nemerle", None)),
    ".odin": (("Object Data Instance Notation", re.compile(r"(?:^|<)[ \t]*\w+[ \t]*=[ \t]*<", re.M)), ("Odin", None)),
    ".p": (
        (
            "Gnuplot",
            _of_line(r"^s?plot\b", r"^set[ \t]+(?:term|terminal|out|output|[xy]tics|[xy]label|[xy]range|style)\b"),
        ),
        ("OpenEdge ABL", None),
    ),
    ".php": (("Hack", re.compile(r"<\?hh")), ("PHP", None)),
    ".pl": (
        ("Prolog", _of_line(r"^[^#\n]{0,200}:-")),
        ("Perl", _PERL),
        ("Raku", _RAKU),
        ("Perl", None),
    ),
    ".pm": (("X PixMap", re.compile(r"/\* XPM \*/")), ("Perl", _PERL), ("Raku", _RAKU), ("Perl", None)),
    ".pp": (
        ("Pascal", re.compile(r"^[ \t]*(?:unit|program|uses|interface|implementation)\b|^[ \t]*end[.;]", re.M | re.I)),
        ("Puppet", None),
    ),
    ".pro": (
        ("Proguard", _of_line(r"^-(?:include\b|keep\w*\b|keepclass\w+\b|keepattributes\b|dontwarn\b)")),
        ("Prolog", _of_line(r"^[^\[#;\n][^\n]{0,200}:-")),
        ("QMake", _of_line(r"^[ \t]*(?:HEADERS|SOURCES|TEMPLATE|CONFIG|QT|TARGET)[ \t]*[+*]?=")),
        ("IDL", None),
    ),
    ".properties": (("Java Properties", None),),
    ".qs": (("Q#", _of_line(r"^[ \t]*(?:namespace|open|operation)[ \t]+\w")), ("Qt Script", None)),
    ".r": (("Rebol", re.compile(r"\bRebol\b", re.I)), ("R", None)),
    ".rs": (
        ("RenderScript", _of_line(r"^#(?:include|pragma[ \t]+(?:rs|version))\b")),
        ("XML", re.compile(r"\A\s{0,80}<\?xml")),
        ("Rust", None),
    ),
    ".sc": (
        ("SuperCollider", re.compile(r"(?i:\bvar\b[^\n:=]*;)|\bSynthDef\b|\{[ \t]*\|\w+|^\+[ \t]*\w+[ \t]*\{", re.M)),
        ("Scala", None),
    ),
    ".sch": (
        ("KiCad Schematic", re.compile(r"EESchema|\(kicad_sch")),
        ("Eagle", re.compile(r"<eagle\b")),
        ("Scheme", None),
    ),
    ".shader": (("ShaderLab", re.compile(r"\n[ \t]*Shader[ \t]+\"", re.M)), ("GLSL", None)),
    ".sls": (("Scheme", re.compile(r"^[ \t]*\((?:library|import|define)\b|^#!r6rs", re.M)), ("SaltStack", None)),
    ".sol": (("Gerber Image", _of_line(r"^[DGMT]\d\d\*")), ("Solidity", None)),
    ".sql": (
        (
            "PLpgSQL",
            re.compile(
                r"^\\i\b|LANGUAGE[ \t]+'?plpgsql|\bAS[ \t]+\$\$|\bBEGIN\b(?:[ \t]+WORK|[ \t]+TRANSACTION)?[ \t]*;",
                re.M | re.I,
            ),
        ),
        (
            "SQLPL",
            re.compile(
                r"(?:ALTER MODULE|MODE DB2SQL|\bSYS(?:CAT|PROC)\.|ASSOCIATE RESULT SET|\bEND!\s*$)", re.M | re.I
            ),
        ),
        (
            "PLSQL",
            re.compile(
                r"\$\$PLSQL_|\bXMLTYPE\b|\bsystimestamp\b|\.nextval\b|CONNECT[ \t]+BY"
                r"|AUTHID[ \t]+(?:DEFINER|CURRENT_USER)|constructor\W+function",
                re.I,
            ),
        ),
        (
            "TSQL",
            re.compile(
                r"^[ \t]*GO\b|\bBEGIN[ \t]+(?:TRY|CATCH)\b|\bOUTPUT[ \t]+INSERTED\b|DECLARE[ \t]+@|\[dbo\]", re.M | re.I
            ),
        ),
        ("SQL", None),
    ),
    ".st": (("StringTemplate", re.compile(r"\$\w+[($]|^[ \t]*<!DOCTYPE|<\w+>", re.M)), ("Smalltalk", None)),
    ".t": (
        ("Turing", _of_line(r"^[ \t]*(?:var|const)[ \t]+\w+[ \t]*:(?:=|[ \t]*\w)")),
        ("Perl", _PERL),
        ("Raku", _RAKU),
        ("Perl", None),
    ),
    ".tex": (("Texinfo", _of_line(r"^\\input[ \t]+texinfo")), ("TeX", None)),
    ".toc": (("World of Warcraft Addon Data", _of_line(r"^## |@no-lib-strip@")), ("TeX", None)),
    ".ts": (("XML", re.compile(r"\A\s{0,80}(?:<\?xml|<!DOCTYPE TS|<TS\b)")), ("TypeScript", None)),
    ".tst": (("GAP", re.compile(r"\ngap> ", re.M)), ("Scilab", None)),
    ".v": (
        (
            "Coq",
            _of_line(
                r"^[ \t]*(?:Theorem|Lemma|Require|Proof|Qed|Definition|Inductive|Section"
                r"|From|Export|Import|Fixpoint|Module)\b[^;\n]*\.?[ \t]*$"
            ),
        ),
        ("Verilog", _of_line(r"^[ \t]*(?:module|endmodule|`\w+|primitive)\b", r"^[ \t]*always[ \t]+@")),
        ("V", _of_line(r"^(?:pub[ \t]+)?fn[ \t]+\w", r"^import[ \t]+\w+$", r"^module[ \t]+\w+$")),
        ("Verilog", None),
    ),
    ".w": (("CWeb", _of_line(r"^@(?:<|\w+\.| )")), ("OpenEdge ABL", None)),
    ".yaml": (("MiniYAML", _of_line(r"^\t+\w[^\n]*:")), ("YAML", None)),
}
for _number in "123456789":
    HEURISTICS["." + _number] = (("Roff Manpage", _MANUAL), ("Roff", None))

# What tells the language of a text without a telling name; the first that fits, in the first characters.
FIRST_CHARS = 4_096
CONTENT_RULES: tuple[tuple[str, _Pattern], ...] = (
    ("XML", re.compile(r"\s{0,80}<\?xml\b")),
    ("HTML", re.compile(r"\s{0,80}(?:<!--[^>]{0,500}-->\s{0,80})?<(?:!DOCTYPE\s+html|html)\b", re.I)),
    ("PHP", re.compile(r"\s{0,80}<\?php\b")),
    ("PostScript", re.compile(r"%!PS")),
    ("Diff", re.compile(r"(?:diff --git |--- \S[^\n]*\n\+\+\+ |Index: |# HG changeset)")),
    (
        "TeX",
        _of_line(
            r"^[ \t]*\\document(?:class|style)\b",
            r"^[ \t]*\\begin\{document\}",
            r"^[ \t]*\\(?:usepackage|newcommand)\b",
        ),
    ),
    ("Roff", re.compile(r"(?:[.'](?:\\\"|TH |Dd |so )|'\\\")")),
    (
        "Dockerfile",
        re.compile(
            r"(?:\s"
            r"|#[^\n]*\n){0,80}(?:ARG \w+(?:=\S*)?\n+)?FROM [\w./:@-]+(?: AS \w+)?\n(?:."
            r"|\n){0,2000}?\n(?:RUN|COPY|ADD|CMD|ENTRYPOINT|ENV) ",
            re.I,
        ),
    ),
    (
        "CMake",
        re.compile(
            r"\n[ \t]*(?:cmake_minimum_required|add_executable|add_library|target_link_libraries)[ \t]*\(", re.M | re.I
        ),
    ),
    ("Go", re.compile(r"\npackage[ \t]+\w+[ \t]*$", re.M)),
    (
        "Rust",
        _of_line(
            r"^[ \t]*(?:pub(?:\(\w+\))?[ \t]+)?fn[ \t]+\w+[^\n]*\{", r"^use[ \t]+(?:std|crate|super)::", r"^#!?\[\w+"
        ),
    ),
    (
        "Java",
        _of_line(
            r"^package[ \t]+[\w.]+;",
            r"^import[ \t]+(?:static[ \t]+)?java[\w.*]+;",
            r"public[ \t]+static[ \t]+void[ \t]+main",
        ),
    ),
    (
        "Kotlin",
        _of_line(
            r"^(?:override[ \t]+|private[ \t]+|internal[ \t]+|suspend[ \t]+)*fun[ \t]+\w+\(",
            r"^(?:data|sealed)[ \t]+class\b",
        ),
    ),
    ("C#", _of_line(r"^using[ \t]+System\b", r"^namespace[ \t]+[A-Z][\w.]*[ \t]*[{;]?$")),
    ("Objective-C", _OBJECTIVE_C),
    (
        "C++",
        _of_line(
            r"^[ \t]*#[ \t]*include[ \t]+<(?:[io]?[sf]?stream|string|vector|map|memory|algorithm)>",
            r"^[ \t]*template[ \t]*<(?:class|typename)\b",
            r"std::\w+",
            r"^[ \t]*(?:public|private|protected):$",
            r"^using[ \t]+namespace[ \t]+\w",
        ),
    ),
    (
        "C",
        _of_line(
            r"^#[ \t]*(?:include[ \t]*[<\"]|ifn?def[ \t]+\w|define[ \t]+\w)",
            r"^(?:static[ \t]+|const[ \t]+)*(?:int|void|char|struct[ \t]+\w+)[ \t*]+\w+[ \t]*\([^\n;]*\)[ \t]*\{?$",
        ),
    ),
    (
        "Swift",
        _of_line(r"^import[ \t]+(?:Foundation|UIKit|SwiftUI)\b", r"^[ \t]*(?:guard|if)[ \t]+let[ \t]+\w+[ \t]*="),
    ),
    (
        "Scala",
        _of_line(
            r"^[ \t]*(?:case[ \t]+class|object|trait)[ \t]+\w+[^\n:]*(?:\{|extends|\()",
            r"^[ \t]*def[ \t]+\w+[^\n]*\)[ \t]*:[ \t]*\w+[^\n]*=",
        ),
    ),
    (
        "Haskell",
        _of_line(
            r"^module[ \t]+[A-Z][\w.]*[^\n]*\bwhere\b",
            r"^import[ \t]+(?:qualified[ \t]+)?[A-Z][\w.]*[^\n;]*$",
            r"^\{-#[ \t]*LANGUAGE\b",
            r"^[a-z]\w*[ \t]+::[ \t]+\S",
        ),
    ),
    ("Erlang", _of_line(r"^-(?:module|export|behaviou?r)\(")),
    ("Elixir", _of_line(r"^[ \t]*def(?:module|protocol|impl)[ \t]+[A-Z][\w.]*[ \t]+do")),
    ("Clojure", _of_line(r"^\((?:ns|defn)[ \t]")),
    ("Common Lisp", re.compile(r"\n\((?:defun|defpackage|in-package|defmacro|defvar|asdf:)[ \t:]", re.M | re.I)),
    ("Scheme", _of_line(r"^\((?:define|define-syntax)[ \t]")),
    (
        "Perl",
        _of_line(r"^[ \t]*use[ \t]+(?:strict|warnings|v?5)\b", r"^[ \t]*my[ \t]+[$@%(]\w", r"^package[ \t]+[\w:]+;"),
    ),
    (
        "Ruby",
        _of_line(
            r"^[ \t]*require(?:_relative)?[ \t]+['\"]",
            r"^[ \t]*(?:class|module)[ \t]+[A-Z]\w*(?:[ \t]*<[ \t]*[\w:]+)?$",
            r"^[ \t]*def[ \t]+[\w.?!]+(?:\([^\n:]*\))?$",
            r"do[ \t]*\|\w+",
        ),
    ),
    (
        "Python",
        _of_line(
            r"^[ \t]*(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(",
            r"^[ \t]*class[ \t]+\w+[ \t]*(?:\([^\n]*\))?:[ \t]*(?:#[^\n]*)?$",
            r"^from[ \t]+[\w.]+[ \t]+import[ \t]",
            r"^import[ \t]+\w[\w., \t]*$",
            r"^[ \t]*(?:if|elif|for|while|try|with)\b[^\n{]*:[ \t]*$",
            r"print\(f?['\"]",
        ),
    ),
    (
        "TypeScript",
        _of_line(
            r"^(?:export[ \t]+)?(?:interface|enum)[ \t]+\w+[^\n]*\{",
            r"^(?:export[ \t]+)?type[ \t]+\w+[ \t]*=",
            r"^[ \t]*(?:const|let|var|private|public)[ \t]+\w+:[ \t]*(?:string|number|boolean|any|void)\b",
            r"^import[ \t]+type\b",
        ),
    ),
    (
        "JavaScript",
        _of_line(
            r"^[ \t]*(?:const|let|var)[ \t]+[\w{\[$][^\n]*=",
            r"function[ \t]*\w*[ \t]*\([^\n]*\)[ \t]*\{",
            r"^[ \t]*['\"]use strict['\"]",
            r"module\.exports\b",
            r"require\(['\"]",
            r"^import[ \t]+[^\n]*from[ \t]+['\"]",
            r"=>[ \t]*\{",
        ),
    ),
    ("Lua", _of_line(r"^[ \t]*(?:local[ \t]+function|local[ \t]+\w+[ \t]*=|function[ \t]+[\w.:]+\([^\n]*\)[ \t]*$)")),
    (
        "SQL",
        re.compile(
            r"\n[ \t]*(?:CREATE[ \t]+(?:TABLE|VIEW|INDEX|DATABASE)|INSERT[ \t]+INTO"
            r"|SELECT\b[^\n]{1,400}\bFROM|ALTER[ \t]+TABLE|DROP[ \t]+TABLE)\b",
            re.M | re.I,
        ),
    ),
    ("Makefile", _of_line(r"^\.PHONY[ \t]*:", r"^[\w.%/$()-]+[ \t]*:(?!=)[^\n]*\n\t\S")),
    ("Batchfile", _of_line(r"@echo off", r"@ECHO OFF", r"^[ \t]*(?:setlocal\b|SETLOCAL\b|REM[ \t])")),
    (
        "Shell",
        _of_line(
            r"^[ \t]*(?:if[ \t]+\[|then$|fi$|esac$|done$|export[ \t]+\w+=|\w+\(\)[ \t]*\{)",
            r"^[ \t]*echo[ \t]+[\"']?\$",
        ),
    ),
    ("JSON", re.compile(r"\s{0,80}[\[{]\s{0,80}(?:\"(?:[^\"\\\n]|\\.){0,400}\"\s{0,80}[:,\]]|[\[{\d\]}-])")),
    (
        "CSS",
        re.compile(
            r"\n[ \t]*(?:@(?:media|import|charset|font-face)\b"
            r"|[.#]?[\w-]+(?:[ \t,>:.#]+[\w-]+){0,8}[ \t]*\{[ \t]*(?:\n[ \t]*)?[\w-]+[ \t]*:[^\n]*;)",
            re.M,
        ),
    ),
    (
        "INI",
        re.compile(
            r"(?:\s|[#;][^\n]*\n){0,80}\[[\w. :\"/-]{1,80}\][ \t]*\r?\n(?:\s|[#;][^\n]*\n){0,40}[\w.-]+[ \t]*[=:]"
        ),
    ),
    (
        "YAML",
        re.compile(r"(?:#[^\n]*\n|\s){0,80}(?:---(?:[ \t]|\n)|%YAML|[\w-]+:(?:[ \t][^\n;{]*)?\n(?:[ \t]+|- )?[\w-]+:)"),
    ),
    ("reStructuredText", _of_line(r"^\.\.[ \t]+[\w-]+::", r"^(?:={4,}|-{4,}|~{4,})$\n[^\n]+\n(?:={4,}|-{4,}|~{4,})$")),
    ("Markdown", _of_line(r"^#{2,6}[ \t]+\S", r"^```", r"\[[^\]\n]+\]\(https?://")),
)
