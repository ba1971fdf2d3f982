"""Keeps built artifacts and captured graphs: the same options, sources and libraries give the same bytes.

A key covers everything that decides them, so an entry is never out of date; deleting the folder is always
safe. Only artifacts that have passed the gate are kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import fedstill_proto.package
from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import MANIFEST_FILE, TrainingArtifact, load_artifact, save_artifact
from fedstill_proto.system.files import SHARED, replace_file

_LIBRARIES = ("fedstill", "onnx", "onnxruntime", "torch")
_DIGEST = 32  # bytes of a SHA-256


def cached_artifact(folder: Path) -> TrainingArtifact | None:
    """The artifact kept in a folder; None if there is none, or it is damaged."""
    try:
        if _manifest_digest(folder) != _digest_file(folder).read_text(encoding="ascii"):
            return None
        return load_artifact(folder)
    except (WireError, OSError, UnicodeDecodeError):
        return None


def damaged_artifacts(cache: Path) -> list[str]:
    """The artifacts of a cache that are not what was kept, in words."""
    folders = sorted(path for path in cache.glob("*") if path.is_dir())
    return [
        f"{folder}: damaged, or {_digest_file(folder).name} is: delete it, and publishing builds it anew"
        for folder in folders
        if cached_artifact(folder) is None
    ]


def keep_artifact(artifact: TrainingArtifact, folder: Path) -> None:
    """Keeps an artifact; another process may do the same at the same time, and either copy will do."""
    try:
        save_artifact(artifact, folder)
        # Its parts answer to the manifest, and the manifest to this.
        replace_file(_digest_file(folder), _manifest_digest(folder).encode(), mode=SHARED)
    except OSError:
        if cached_artifact(folder) is None:
            raise


def _digest_file(folder: Path) -> Path:
    return folder / "manifest.sha256"


def _manifest_digest(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def kept_graph(file: Path) -> bytes | None:
    """The graph kept in a file after its SHA-256; None if there is none, or it is damaged."""
    try:
        blob = file.read_bytes()
    except OSError:
        return None
    digest, graph = blob[:_DIGEST], blob[_DIGEST:]
    return graph if hashlib.sha256(graph).digest() == digest else None


def keep_graph(graph: bytes, file: Path) -> None:
    """Keeps a graph; another process may do the same at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_bytes(hashlib.sha256(graph).digest() + graph)
    new.replace(file)


def cache_key(options: Mapping[str, object]) -> str:
    """A digest of the options, the sources that build graphs, and the versions of the libraries they use."""
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    described = json.dumps([options, versions, _sources()], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


@functools.cache
def _sources() -> str:
    """The digest of this package, the families, the forms of examples, and the format of the folder."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py")) + sorted((package.parent / "families").glob("*.py"))
    files.append(package.parent / "data" / "forms.py")
    files += sorted(Path(str(fedstill_proto.package.__file__)).parent.glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
