"""Shapes: documents that belong together as one text, in the form that a model was trained on.

`starcoder_*@1` and `starcoder2_*@1` are those of StarCoder and StarCoder2, with the faults of their code;
`gristmill_*@1` are ours, with these mended, and no text can forge a mark in them.  See docs/shapes.md.
"""

from collections.abc import Mapping

from pipelines.shapes.commits import CommitShape
from pipelines.shapes.files import FileShape, PlainShape, RepositoryShape
from pipelines.shapes.intermediate import IntermediateShape
from pipelines.shapes.issues import MAX_LINES_STARCODER2, IssueShape
from pipelines.shapes.kaggle import KaggleShape
from pipelines.shapes.notebooks import NotebookScript, StructuredNotebook
from pipelines.shapes.pull_requests import PullRequestShape
from pipelines.shapes.questions import QuestionShape
from pipelines.shapes.shape import REASONS, Chance, Draws, Dropped, Shape, Shaped

_ALL: tuple[Shape, ...] = (
    FileShape("starcoder_file@1"),
    CommitShape("starcoder_commit@1"),
    IssueShape("starcoder_issue@1"),
    NotebookScript("starcoder_notebook_script@1"),
    StructuredNotebook("starcoder_notebook_structured@1"),
    RepositoryShape("starcoder2_repository@1"),
    PullRequestShape("starcoder2_pull_request@1"),
    IssueShape("starcoder2_issue@1", MAX_LINES_STARCODER2),
    NotebookScript("starcoder2_notebook_script@1", "<jupyter_script>", header=False),
    StructuredNotebook("starcoder2_notebook_structured@1"),
    KaggleShape("starcoder2_kaggle@1"),
    PlainShape("starcoder2_documentation@1", "documentation"),
    QuestionShape("starcoder2_stackexchange@1"),
    IntermediateShape("starcoder2_intermediate@1"),
    IntermediateShape("starcoder2_intermediate_clang@1", compiles=True),
    FileShape("gristmill_file@1", mended=True),
    CommitShape("gristmill_commit@1", mended=True),
    IssueShape("gristmill_issue@1", mended=True),
    NotebookScript("gristmill_notebook_script@1", "<jupyter_script>", header=False, mended=True),
    StructuredNotebook("gristmill_notebook_structured@1", mended=True),
    RepositoryShape("gristmill_repository@1", mended=True),
    PullRequestShape("gristmill_pull_request@1", mended=True),
    KaggleShape("gristmill_kaggle@1", mended=True),
    PlainShape("gristmill_documentation@1", "documentation", mended=True),
    QuestionShape("gristmill_stackexchange@1", mended=True),
    IntermediateShape("gristmill_intermediate@1", mended=True),
    IntermediateShape("gristmill_intermediate_clang@1", compiles=True, mended=True),
)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in _ALL}

__all__ = ["REASONS", "SHAPES", "Chance", "Draws", "Dropped", "Shape", "Shaped"]
