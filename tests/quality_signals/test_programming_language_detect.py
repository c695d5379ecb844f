"""Language by modeline, name, interpreter, extension and content."""

from __future__ import annotations

import time

import pytest

from quality_signals.programming_language_detect import CONTENT, EXTENSION, MODELINE, NAME, SHEBANG, detect


@pytest.mark.parametrize(
    "path, text, language, by",
    [
        ("a.py", "x = 1\n", "Python", EXTENSION),
        ("a/Makefile", "", "Makefile", NAME),
        ("Dockerfile.dev", "FROM x\n", "Dockerfile", NAME),
        ("run", "#!/usr/bin/env python3\n", "Python", SHEBANG),
        ("run.txt", "#!/bin/sh\n", "Shell", SHEBANG),
        ("a.txt", "-*- mode: python -*-\n", "Python", MODELINE),
        ("a.txt", "/* -*- C++ -*- */\n", "C++", MODELINE),
        ("a.py", "# -*- coding: utf-8 -*-\n", "Python", EXTENSION),
        ("a", "x\n" * 100 + "# vim: set ts=4 ft=ruby:\n", "Ruby", MODELINE),
        ("a", "x\n" * 6 + "# vim: ft=ruby\n" + "x\n" * 6, None, None),
        ("a.h", "int a(void);\n", "C", EXTENSION),
        ("a.h", "#pragma once\nnamespace a {\n}\n", "C++", CONTENT),
        ("a.h", "@interface A : B\n@end\n", "Objective-C", CONTENT),
        ("a.m", "@implementation A\n@end\n", "Objective-C", EXTENSION),
        ("a.m", "% sum\nfunction y = f(x)\n", "MATLAB", CONTENT),
        ("a.m", ":- module a.\n", "Mercury", CONTENT),
        ("a.pl", "use strict;\nmy $x = 1;\n", "Perl", EXTENSION),
        ("a.pl", "a(X) :- b(X).\n", "Prolog", CONTENT),
        ("a.v", "module a;\nendmodule\n", "Verilog", EXTENSION),
        ("a.v", "Require Import Arith.\nLemma a : True.\n", "Coq", CONTENT),
        ("a.pp", "unit a;\ninterface\n", "Pascal", CONTENT),
        ("a.ts", "<?xml version='1.0'?>\n<TS>", "XML", CONTENT),
        ("a.fs", "let x = 1\n", "F#", EXTENSION),
        ("a.fs", "#version 330\nuniform vec2 a;\n", "GLSL", CONTENT),
        ("a.1", ".TH a 1\n.SH NAME\n", "Roff Manpage", CONTENT),
        (None, "<?php echo 1;", "PHP", CONTENT),
        (None, "\ufeff<!DOCTYPE html>\n<p>", "HTML", CONTENT),
        (None, "package main\n\nfunc main() {}\n", "Go", CONTENT),
        (None, "import os\n\ndef f(a):\n    pass\n", "Python", CONTENT),
        (None, "#include <stdio.h>\nint main(void) {\n}\n", "C", CONTENT),
        (None, "#include <vector>\nstd::vector<int> a;\n", "C++", CONTENT),
        (None, '{"a": [1, 2]}', "JSON", CONTENT),
        (None, "diff --git a/x b/x\n", "Diff", CONTENT),
        (None, "fn main() {\n}\n", "Rust", CONTENT),
        (None, "\\documentclass{article}\n", "TeX", CONTENT),
        (None, "Words that are of no language.\n", None, None),
        (None, "", None, None),
        ("", "\0\0", None, None),
        ("C:\\x\\main.rs", "fn main() {}\n", "Rust", EXTENSION),
    ],
)
def test_language_and_by_what(path, text, language, by):
    found = detect(path, text)
    assert (found.language, found.by if language else None) == (language, by)


def test_labels_of_the_golden_files(golden):
    """The labels are mechanical and spelt as in The Stack."""
    labelled = [f for f in golden("code_files") if f["lang"]]
    right = sum(detect(f["path"], f["content"]).language == f["lang"] for f in labelled)
    assert right / len(labelled) > 0.9


@pytest.mark.parametrize(
    "unit", [" ", "\n", "a", "\t\n", '"', "# x\n", "x:\n", "{ ", "class a ", "-*- ", "vim: ", "\\", "(* ", "<!--"]
)
@pytest.mark.parametrize("path", [None, "a.h", "a.m", "a.pl", "a.sql", "a.v", "a.d"])
def test_hostile_text_takes_no_time(path, unit):
    text = unit * (2_000_000 // len(unit))
    start = time.process_time()
    detect(path, text)
    assert time.process_time() - start < 0.5
