"""Oxen's `training_params` by `script_type`: docs.oxen.ai/fine-tuning-api/reference, read November 2026.

The specification allows any parameter, so one that is missing here only causes a warning.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.errors import Doubt, near

Types = Mapping[str, tuple[type, ...]]
_INTEGER: Final[tuple[type, ...]] = (int,)
_NUMBER: Final[tuple[type, ...]] = (int, float)
_TEXT: Final[tuple[type, ...]] = (str,)
_FLAG: Final[tuple[type, ...]] = (bool,)
_LIST: Final[tuple[type, ...]] = (list,)
_ANY: Final[tuple[type, ...]] = (object,)
_WORDS: Final = {
    _INTEGER: "a whole number",
    _NUMBER: "a number",
    _TEXT: "a text in quotes",
    _FLAG: "true or false",
    _LIST: "a list",
}


def _typed(kind: tuple[type, ...], *names: str) -> Types:
    return dict.fromkeys(names, kind)


_ALL: Final = {
    **_typed(_INTEGER, "batch_size", "lora_alpha", "lora_rank"),
    **_typed(_NUMBER, "learning_rate"),
    **_typed(_FLAG, "use_lora"),
}
_LANGUAGE: Final = {
    **_ALL,
    **_typed(_INTEGER, "epochs", "grad_accum", "logging_steps", "seq_length"),
    **_typed(_NUMBER, "neftune_noise_alpha", "save_steps_ratio"),
    **_typed(_TEXT, "save_strategy"),
    **_typed(_FLAG, "enable_thinking"),
}
_PICTURES: Final = {
    **_ALL,
    **_typed(_INTEGER, "gradient_accumulation", "sample_every", "steps"),
    **_typed(_TEXT, "caption_column", "image_column", "timestep_type"),
    # The reference says a list of prompts, the specification a number.
    **_typed(_ANY, "samples"),
}
_QUESTIONS: Final = {**_LANGUAGE, **_typed(_TEXT, "question_column", "answer_column")}
_EDITING: Final = {**_PICTURES, **_typed(_INTEGER, "sample_height", "sample_width")}
PARAMETERS: Final[Mapping[str, Types]] = {
    "text_generation": _QUESTIONS,
    "text_chat_messages": {**_LANGUAGE, **_typed(_TEXT, "messages_column")},
    "image_to_text": {**_QUESTIONS, **_typed(_LIST, "image_columns")},
    "image_generation": _PICTURES,
    "text_to_video": _PICTURES,
    "image_to_video": {**_PICTURES, **_typed(_INTEGER, "num_frames")},
    "image_editing": {
        **_EDITING,
        **_typed(_TEXT, "control_image_column"),
        **_typed(_FLAG, "cache_text_embeddings"),
    },
    "multi_image_editing": {**_EDITING, **_typed(_LIST, "control_image_columns")},
}


def doubts(script_type: str, params: Mapping[str, Any]) -> Iterator[Doubt]:
    """Find parameters that are not documented for this kind of training, or have another type."""
    known = PARAMETERS[script_type]
    for key, value in params.items():
        path = ("training_params", key)
        if key not in known:
            others = [name for name, types in PARAMETERS.items() if key in types]
            meant = f"{others[0]} has it" if others else near(key, known)
            yield Doubt(path, f"not among the documented parameters of {script_type}", meant)
        elif not _fits(value, known[key]):
            yield Doubt(path, f"documented as {_WORDS[known[key]]}")


def _fits(value: object, types: tuple[type, ...]) -> bool:
    # In Python, bool is a subclass of int.
    return isinstance(value, types) and (not isinstance(value, bool) or types in (_FLAG, _ANY))
