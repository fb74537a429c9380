"""TOML tables to models: only what JSON can hold, every fault kept."""

import json
import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.config.locate import Path
from orchestrator.config.placeholder import HINT, SANDBOX_DATASET, Placeholders, is_placeholder
from orchestrator.config.problems import Fault, Faults, Spot, quoted
from orchestrator.config.secret import looks_secret
from orchestrator.config.source import Source
from orchestrator.config.translate import faults_of
from orchestrator.core.job import MARKER
from orchestrator.errors import Code

M = TypeVar("M", bound=BaseModel)

_ENCODER: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
_LONG_NUMBER: Final = re.compile(r"[0-9]{19}")
_FILL_IN: Final = "put your own value there before you buy (--sandbox takes it as it is)"
_REFERENCE: Final = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """A table's file and path, and where its faults are gathered."""

    source: Source
    path: Path
    faults: list[Fault]

    def fault(
        self, path: Path, message: str, spot: Spot = Spot.VALUE, code: Code = Code.INVALID_VALUE
    ) -> None:
        """Blame what stands at `path`, which counts from the root of the file."""
        self.faults.append(Fault(source=self.source, path=path, message=message, code=code, spot=spot))


def decode(model: type[M], table: object, here: Here) -> M | None:
    """Read `table` as `model`; None where that cannot be, the reasons being added to the faults."""
    return decode_text(model, table, here, *encode(table, here))


def decode_text(model: type[M], table: object, here: Here, text: str, unfit: Container[Path]) -> M | None:
    """Read what `encode` made of `table` as `model`."""
    try:
        # by way of JSON, where strict means strict about scalars but a list may become a tuple
        return model.model_validate_json(text)
    except ValidationError as error:
        found = faults_of(error, here.source, here.path, table, model)
        here.faults.extend(fault for fault in found if fault.path not in unfit)
        return None


def encode(table: object, here: Here) -> tuple[str, Container[Path]]:
    """Write `table` as JSON; dates, NaN and huge numbers are faults, whose paths are returned too."""
    try:
        text = _ENCODER.encode(table)
    except (TypeError, ValueError):
        text = None
    if text is not None and not _LONG_NUMBER.search(text):
        return text, ()
    unfit = {at: message for at, value in leaves(table, here.path) if (message := _unfit(value))}
    for at, message in unfit.items():
        here.fault(at, message)
    return text if text is not None and not unfit else _ENCODER.encode(_fitted(table)), unfit


def _fitted(value: Any) -> Any:
    """Put a text in place of each leaf that JSON cannot hold, so that the rest is checked too."""
    if isinstance(value, dict):
        return {key: _fitted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fitted(inner) for inner in value]
    return "" if _unfit(value) else value


def _unfit(value: object) -> str | None:
    match value:
        case bool() | str():
            return None
        case int():
            return None if -(2**63) <= value < 2**63 else "a number that does not fit in 64 bits"
        case float():
            return None if math.isfinite(value) else f"expected a finite number, got {quoted(value)}"
        case _:
            return "a date or time is not allowed here; write it as text in quotes"


def refuse_reserved(text: str, spec: object, here: Here) -> None:
    """Blame what a spec (`text` is its JSON) must not hold: references of a later release, and markers."""
    if "${" not in text and "ft1-" not in text:
        return
    for at, value in leaves(spec, here.path):
        if isinstance(value, str) and _REFERENCE.search(value):
            # the text is not shown: it may be a secret's
            here.fault(
                at,
                "references, ${datasets.NAME} and the like, are not supported yet",
                code=Code.NOT_SUPPORTED,
            )
        for word, spot in ((value, Spot.VALUE), *((key, Spot.KEY) for key in at[len(here.path) :])):
            if isinstance(word, str) and (marker := MARKER.search(word)):
                here.fault(at, f'"{marker[0]}" is reserved', spot)


def refuse_placeholders(
    text: str, spec: object, here: Here, how: Placeholders, secrets: Sequence[str], doubts: Faults
) -> None:
    """Blame what a spec (`text` is its JSON) leaves for a person to fill in, but where it is allowed.

    The name of a variable at a path of `secrets` is no such thing.
    """
    if how is Placeholders.ALLOWED or not HINT.search(text):
        return
    for at, value in leaves(spec, here.path):
        path = ".".join(str(key) for key in at[len(here.path) :])
        if not isinstance(value, str) or path.startswith(tuple(f"{secret}." for secret in secrets)):
            continue
        if value == SANDBOX_DATASET:
            message, found = f"only the sandbox has {quoted(value)}", here.faults
            if how is Placeholders.CHECKED:
                found = doubts
        elif is_placeholder(value):
            message, found = f"{quoted(value)} is a placeholder", here.faults
        else:
            continue
        found.append(
            Fault(source=here.source, path=at, message=message, hint=_FILL_IN, code=Code.PLACEHOLDER)
        )


def look_alikes(source: Source) -> Iterator[Fault]:
    """Find texts that look like a secret, in fields that are none."""
    if not looks_secret(source.text):
        return
    for at, value in leaves(source.document, ()):
        if isinstance(value, str) and looks_secret(value):
            message = "looks like a secret, but is stored and shown in plain text"
            yield Fault(source=source, path=at, message=message)


def leaves(value: Any, path: Path) -> Iterator[tuple[Path, object]]:
    """Walk over every scalar with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value
