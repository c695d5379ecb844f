"""Spellings of special tokens, and how text keeps from being taken for one.

Names: the vocabularies of StarCoder (arXiv:2305.06161, table 10) and StarCoder2 (arXiv:2402.19173, section 5.1).
"""

from __future__ import annotations

import re

TOKENS = (
    "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <reponame> <repo_name> <filename> <file_sep> "
    "<gh_stars> <issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> "
    "<jupyter_output> <jupyter_script> <empty_output> <commit_before> <commit_msg> <commit_after> "
    "<code_to_intermediate> <intermediate_to_code> <pr> <pr_status> <pr_is_merged> <pr_base> <pr_file> "
    "<pr_base_code> <pr_diff> <pr_diff_hunk> <pr_comment> <pr_event_id> <pr_review> <pr_review_state> "
    "<pr_review_comment> <pr_in_reply_to_review_id> <pr_in_reply_to_comment_id> <pr_diff_hunk_comment_line>"
).split()
_ANY = re.compile("|".join(re.escape(token) for token in TOKENS))


def unmarked(text: str) -> str:
    """The text with a space behind the `<` of whatever is spelt as a special token: it stays readable, and a tokeniser
    that reads marks in texts finds only those that the shape wrote.

    Every part of a text is unmarked when nothing more is taken out of it: what is left may spell a token only then.
    """
    return _ANY.sub(lambda found: "< " + found.group()[1:], text) if "<" in text else text


def as_it_is(text: str) -> str:
    """The text: in the place of `unmarked` where a reference takes marks in texts for its own."""
    return text
