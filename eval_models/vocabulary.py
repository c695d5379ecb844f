"""The neutral tokeniser of every proxy: bytes, and five marks that stand for no byte.

No tokeniser is trained, so none favours an arm of the study, and bits per byte need no conversion.
"""

from __future__ import annotations

END_OF_DOCUMENT = 256
FIM_PREFIX = 257
FIM_MIDDLE = 258
FIM_SUFFIX = 259
FIM_PAD = 260
VOCABULARY_SIZE = 264  # 261 symbols, padded to a multiple of 8 for aligned matrix products

# A target with this value is not predicted: the end of a short row, or a context byte that is no target.
IGNORED = -100
