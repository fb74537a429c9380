"""Words that stand where a value of one's own belongs: `YOUR-DATASET-ID` and the like."""

import re
from enum import Enum, auto
from typing import Final

SANDBOX_DATASET: Final = "sandbox-dataset"
"""A dataset that only the sandbox has: a starter file names it, so that it can be tried as it is."""

_ANYWHERE: Final = re.compile(r"(?<![A-Za-z0-9])YOUR[-_][A-Z][A-Z0-9_-]*")
_PART: Final = re.compile(
    r"your[-_ ](?:own[-_ ])?(?:account|bucket|branch|data|dataset|file|folder|id|key|model|name|path|repo"
    r"|value|voice)(?:[-_ ](?:file|here|id|key|name|path))*(?:\.[a-z0-9]+)?",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(
    r"<[^<>]{1,80}>|(?:replace|change|fill)[-_ ]?(?:me|this|in)|placeholder|todo|fixme|tbd|x{3,}|\.{3,}|…"
    r"|insert[-_ ].*[-_ ]here",
    re.IGNORECASE,
)
HINT: Final = re.compile(
    rf"your|<|replace|change|fill|placeholder|todo|fixme|tbd|xxx|\.\.\.|…|insert|{SANDBOX_DATASET}",
    re.IGNORECASE,
)
"""A quick look at a whole text: without any of these there is no placeholder in it."""


class Placeholders(Enum):
    """What becomes of placeholders in a spec."""

    REFUSED = auto()
    CHECKED = auto()
    """They are refused, but the sandbox's own dataset is only warned of: nothing is bought here."""
    ALLOWED = auto()
    """Under the sandbox, which takes anything."""


def is_placeholder(text: str) -> bool:
    """Say whether a value was left for a person to fill in."""
    if _ANYWHERE.search(text) or _WHOLE.fullmatch(text.strip()):
        return True
    return any(_PART.fullmatch(part.strip()) for part in text.split("/"))
