"""The manifest of an export: everything needed to make the same benchmark again, and to check it.

JSON with sorted keys, no times and no absolute paths, so equal exports have equal manifests. It holds what the caller
gives (seed, settings, …) and, for every instance, its true index, label, radius, verdict and the drawn image itself:
uint8 levels in CHW order, base64, because decoders and image libraries change and drawn numbers may too.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ..core import ExportError, ParameterError, Verdict, foreign_json, require

NAME = "manifest.json"
FORMAT = "nbutils export, 1"


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def encode_levels(levels: np.ndarray) -> dict[str, Any]:
    """An image uint8 [C, H, W] as JSON: shape and base64 of its bytes."""
    return {"shape": list(levels.shape), "base64": base64.b64encode(np.ascontiguousarray(levels).tobytes()).decode()}


def decode_levels(entry: Mapping[str, Any]) -> np.ndarray:
    """The image uint8 [C, H, W] that `encode_levels` wrote.

    Raises:
        ExportError: for an entry that holds no image.
    """
    try:
        data = np.frombuffer(base64.b64decode(entry["base64"], validate=True), dtype=np.uint8)
        channels, height, width = entry["shape"]
        return data.reshape(channels, height, width)
    except (KeyError, TypeError, ValueError) as problem:
        raise ExportError(
            f"manifest: found an image that cannot be decoded ({problem}); allowed: base64 and shape."
        ) from None


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """All numbers of a verdict but its seconds and its point, which are no part of a reproducible record."""
    fields = (f.name for f in dataclasses.fields(verdict) if f.name not in ("seconds", "point"))
    return {name: getattr(verdict, name) for name in fields} | {"hardness": verdict.hardness}


def dump(manifest: Mapping[str, Any]) -> bytes:
    """`manifest` as JSON bytes; equal content gives equal bytes.

    Raises:
        ParameterError: naming the entry, for absolute paths, NaN, infinity and anything that is no JSON type.
    """
    return (json.dumps(_plain(manifest, "manifest"), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def read_manifest(path: Path | str) -> dict[str, Any]:
    """The manifest at `path`, the file or the export folder that holds it.

    Raises:
        ExportError: if there is none, or it is not one that this package wrote.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    try:
        content = foreign_json.parse(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ExportError(f"{path}: found {problem.strerror}; allowed: the manifest of an export.") from None
    except ValueError:
        raise ExportError(f"{path}: found text that is no JSON; allowed: the manifest of an export.") from None
    found = content.get("format") if isinstance(content, dict) else None
    ok = found == FORMAT and isinstance(content.get("files"), dict) and isinstance(content.get("instances"), list)
    hint = "It was not written by this version of nbutils"
    require(ok, str(path), found, f"a manifest of format {FORMAT!r}", hint, error=ExportError)
    return content


def _plain(value: object, where: str) -> Any:
    """`value` in JSON types, NumPy scalars included."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        pixels = where.endswith(".base64")  # may begin with a slash
        absolute = not pixels and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute())
        hint = "A manifest is the same on every machine: give the name, or a path inside the checkout"
        require(not absolute, where, value, "text that is no absolute path", hint)
        return value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    raise ParameterError(f"{where}: found {value!r}; allowed: text, finite numbers, true, false, null, lists of them.")
