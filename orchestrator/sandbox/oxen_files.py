"""Oxen's files and branches, after its open-source server (github.com/Oxen-AI/Oxen, file.rs, November 2026).

A repository that nobody has used yet exists and is empty: its first upload makes the branch.
"""

import hashlib
import mimetypes
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from orchestrator.sandbox.check import Field, check_object, read_query
from orchestrator.sandbox.clock import stamp
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Part, Refusal, Reply, by_name

_BRANCH: Mapping[str, Field] = {"new_name": Field(required=True), "from_name": Field(), "commit_id": Field()}
_UNSAFE_IN_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x80-\x9f]')


def upload(desk: Desk, call: Call) -> Reply:
    """Commit files to a branch: `file` to a path of its own, or any number of `files[]` into a directory."""
    read_query(call, {})
    form = call.form()
    files = [part for part in form if part.name == "files[]"]
    single = by_name(part for part in form if part.name != "files[]")
    unknown = sorted(single.keys() - {"file", "message", "name", "email"})
    if unknown:
        raise Refusal(400, f"unknown form fields {', '.join(unknown)}")
    if files and "file" in single:
        raise Refusal(400, "Ambiguous multipart payload: use either `file` or `files[]`, not both")
    if not files and "file" not in single:
        raise Refusal(400, "Missing file data: expected `file` or `files[]` multipart parts")
    if len(_branches(desk, call)) == 0:
        name, _, rest = call.args["resource"].partition("/")
        tip = None
    else:
        tip, rest = _resolve(desk, call)
        name = tip.id
    held: Fields = {} if tip is None else tip.extra["files"]
    sent = _places(held, rest, single.get("file"), files)
    said = {key: single[key].content.decode("utf-8", "replace") for key in single if key != "file"}
    usual = "Initial commit" if tip is None else f"Auto-commit files to {rest}"
    commit = _commit(desk, call, tip, {"message": usual, **said})
    _advance(
        desk, call, name, commit, {**held, **{path: _entry(part, commit) for path, part in sent.items()}}
    )
    return _answer("resource_created", commit=commit)


def _places(held: Fields, target: str, file: Part | None, files: Iterable[Part]) -> dict[str, Part]:
    """Tell where each part goes, or refuse a place that cannot be."""
    place = _normal(target, "target path")
    if any(str(above) in held for above in place.parents):
        raise Refusal(400, f"Target path must be a directory: {target}")
    if file is None or _is_directory(held, place):
        if str(place) in held:
            raise Refusal(400, f"Target path must be a directory: {target}")
        parts = [file] if file is not None else list(files)
        return {str(place / _file_name(part)): part for part in parts}
    if place == PurePosixPath():
        raise Refusal(400, "Invalid target path: expected a full file path for `file` uploads")
    return {str(place): file}


def _is_directory(held: Fields, place: PurePosixPath) -> bool:
    return any(place in PurePosixPath(path).parents for path in held)


def _normal(path: str, what: str) -> PurePosixPath:
    if path.startswith("/"):
        raise Refusal(400, f"Invalid {what}: absolute paths are not allowed")
    if ".." in path.split("/"):
        raise Refusal(400, f"Invalid {what}: path traversal is not allowed: {path}")
    return PurePosixPath(path)


def _file_name(part: Part) -> str:
    name = _UNSAFE_IN_NAMES.sub("", part.filename or str(uuid.uuid4())).rstrip(". ")
    if not name:
        raise Refusal(400, "Invalid uploaded file: path cannot be empty")
    return name


def _entry(part: Part, commit: Fields) -> Fields:
    # The real hash is XXH3 of 128 bits; this one is only of the same form.
    digest = hashlib.blake2b(part.content, digest_size=16).hexdigest()
    return {"size": len(part.content), "hash": digest, "latest_commit": commit}


def _commit(desk: Desk, call: Call, tip: Item | None, said: Fields) -> Fields:
    commit = {
        "id": uuid.uuid4().hex,
        "parent_ids": [] if tip is None else [tip.fields["commit_id"]],
        "message": said["message"],
        "author": said.get("name", ""),
        "email": said.get("email", ""),
        "timestamp": stamp(desk.clock.now()),
    }
    desk.make(call, commit, item_id=commit["id"], kind="commit")
    return commit


def _advance(desk: Desk, call: Call, name: str, commit: Fields, files: Fields) -> None:
    item = desk.shelf("oxen", call.account, "branch").find(name, desk.clock.now())
    if item is None:
        item = desk.make(call, {}, item_id=name, kind="branch")
    item.fields = {"name": name, "commit_id": commit["id"]}
    item.extra = {"files": files}
    desk.put(item)


def _branches(desk: Desk, call: Call) -> list[Item]:
    return desk.shelf("oxen", call.account, "branch").items


def _resolve(desk: Desk, call: Call) -> tuple[Item, str]:
    """Split a resource into the branch, whose name may hold slashes, and the path on it."""
    resource = call.args["resource"]
    for item in sorted(_branches(desk, call), key=lambda one: -len(one.id)):
        if resource == item.id or resource.startswith(f"{item.id}/"):
            return item, resource.removeprefix(item.id).removeprefix("/")
    raise Refusal(404, f"Path does not exist: {resource}", "resource_not_found")


def metadata(desk: Desk, call: Call) -> Reply:
    """Give the size and hash of one file, or that a directory is there."""
    read_query(call, {})
    item, path = _resolve(desk, call)
    held = item.extra["files"]
    place = _normal(path, "target path")
    known = held.get(str(place))
    if known is None and not _is_directory(held, place):
        raise Refusal(404, f"Path does not exist: {call.args['resource']}", "resource_not_found")
    below = [entry for name, entry in held.items() if place in PurePosixPath(name).parents]
    entry = {
        "filename": place.name,
        "hash": known["hash"] if known else uuid.uuid5(uuid.NAMESPACE_URL, str(below)).hex,
        "is_dir": known is None,
        "latest_commit": (known or below[-1])["latest_commit"],
        "resource": {"version": item.id, "path": path},
        "size": known["size"] if known else sum(entry["size"] for entry in below),
        "data_type": "binary" if known else "dir",
        "mime_type": (mimetypes.guess_type(place.name)[0] or "application/octet-stream")
        if known
        else "inode/directory",
        "extension": place.suffix.removeprefix("."),
        "metadata": None,
        "is_queryable": None,
    }
    return _answer("resource_found", entry=entry)


def branches(desk: Desk, call: Call) -> Reply:
    """Give all branches of the repository."""
    read_query(call, {})
    return _answer("resource_found", branches=[item.fields for item in _branches(desk, call)])


def branch(desk: Desk, call: Call) -> Reply:
    """Give one branch."""
    read_query(call, {})
    return _answer("resource_found", branch=_branch(desk, call, call.args["name"]).fields)


def branch_create(desk: Desk, call: Call) -> Reply:
    """Make a branch from another or from a commit at the tip of one; one that exists is given as it is."""
    read_query(call, {})
    fields = call.document()
    check_object(fields, _BRANCH)
    if ("from_name" in fields) == ("commit_id" in fields):
        raise Refusal(400, "either from_name or commit_id must be there")
    there = desk.shelf("oxen", call.account, "branch").find(fields["new_name"], desk.clock.now())
    if there is not None:
        return _answer("resource_found", branch=there.fields)
    if "from_name" in fields:
        source = _branch(desk, call, fields["from_name"])
    else:
        tips = [item for item in _branches(desk, call) if item.fields["commit_id"] == fields["commit_id"]]
        if not tips:
            raise Refusal(404, f"commit {fields['commit_id']} not found", "resource_not_found")
        source = tips[0]
    made = desk.make(
        call, {**source.fields, "name": fields["new_name"]}, item_id=fields["new_name"], kind="branch"
    )
    made.extra = {"files": dict(source.extra["files"])}
    desk.put(made)
    return _answer("resource_created", branch=made.fields)


def _branch(desk: Desk, call: Call, name: str) -> Item:
    item = desk.shelf("oxen", call.account, "branch").find(name, desk.clock.now())
    if item is None:
        raise Refusal(404, f"Branch not found: {name}", "resource_not_found")
    return item


def _answer(said: str, **found: object) -> Reply:
    return Reply(document={"status": "success", "status_message": said, **found})
