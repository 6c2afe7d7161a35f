"""The ledger of a funnel: one SQLite row an image, committed as it is settled, so that no work is lost.

A ledger belongs to one run: network file, settings and normalisation. Opening it for another run is an error,
not a silent mixture.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ..core import LedgerError, Normalization, SelectionConfig, Verdict

FORMAT = 1
WAIT = 60.0
"""Seconds to wait for another process that holds the file."""
_COLUMNS = tuple(f.name for f in dataclasses.fields(Verdict))
_QUOTED = ", ".join(f'"{name}"' for name in _COLUMNS)  # "index" is a word of SQL
_TABLES = (
    "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f'CREATE TABLE verdicts ({_QUOTED}, PRIMARY KEY ("image_id", "label")) WITHOUT ROWID',
)


class Ledger(AbstractContextManager["Ledger"]):
    """Verdicts of one run in an SQLite file (WAL: readers and a writer at once; a kill loses no committed row).

    Several processes may add to one ledger; the first verdict of an image stays.
    """

    def __init__(self, path: str | Path, run: dict[str, Any]) -> None:
        """Open or create the ledger at `path` for the run described by `run` (see `run_key`).

        Raises:
            LedgerError: the file is no ledger, is damaged, belongs to another run, or cannot be written.
        """
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(
                f"{self.path}: cannot be opened as a ledger ({error}). Give the path of a file in a writable folder."
            ) from None
        try:
            self._guard(self._prepare, run)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, run: dict[str, Any]) -> None:
        self._switch_to_wal()
        self._db.execute("PRAGMA synchronous=NORMAL")
        wanted = {"format": FORMAT, **run}
        self._db.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if not tables:
            for statement in _TABLES:
                self._db.execute(statement)
            rows = [(key, json.dumps(value, sort_keys=True)) for key, value in wanted.items()]
            self._db.executemany("INSERT INTO run VALUES (?, ?)", rows)
        self._db.execute("COMMIT")
        if tables and not {"run", "verdicts"} <= tables:
            raise LedgerError(
                f"{self.path}: an SQLite file with tables {sorted(tables)}, not a ledger. Choose another path."
            )
        found = {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM run")}
        differ = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        if differ:
            pairs = "; ".join(f"{key}: ledger {found.get(key)!r}, this run {wanted.get(key)!r}" for key in differ)
            raise LedgerError(
                f"{self.path}: belongs to another run ({pairs}). Choose another ledger path, or repeat those settings."
            )
        (state,) = self._db.execute("PRAGMA quick_check").fetchone()
        if state != "ok":
            raise LedgerError(f"{self.path}: damaged ({state}). Move it away and start again; nothing was changed.")

    def _switch_to_wal(self) -> None:
        """Take the journal mode; SQLite itself does not wait for that where another process opens the file too."""
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def add(self, verdict: Verdict) -> None:
        """Commit one verdict; an image (with its label) that is already there keeps its first."""
        values = [getattr(verdict, name) for name in _COLUMNS[:-1]]
        marks = ", ".join("?" * len(_COLUMNS))
        stored = None
        if verdict.point is not None:
            stored = json.dumps(verdict.point.shape).encode() + b"\n" + verdict.point.astype("<f4").tobytes()
        self._guard(self._db.execute, f"INSERT OR IGNORE INTO verdicts VALUES ({marks})", (*values, stored))

    def verdicts(self, keys: Iterable[str] | None = None) -> dict[str, Verdict]:
        """Stored verdicts by `Verdict.key`: all, or those of `keys`."""
        wanted = None if keys is None else set(keys)
        rows = self._guard(lambda: self._db.execute(f"SELECT {_QUOTED} FROM verdicts").fetchall())
        found = {verdict.key: verdict for verdict in map(_verdict, rows)}
        return found if wanted is None else {key: found[key] for key in found.keys() & wanted}

    def __len__(self) -> int:
        return self._guard(lambda: self._db.execute("SELECT count(*) FROM verdicts").fetchone()[0])

    def close(self) -> None:
        """Close the file; every verdict added is already on disk."""
        self._db.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _guard(self, action: Any, *args: Any) -> Any:
        try:
            return action(*args)
        except sqlite3.DatabaseError as error:
            reason = str(error)
            if "full" in reason:
                advice = "The disk is full: free some space and start again; every image settled so far is kept"
            elif "locked" in reason or "readonly" in reason:
                advice = "Another process holds it, or it is read-only; start again when it is free"
            else:
                advice = "Move it away and start again; nothing was changed"
            raise LedgerError(f"{self.path}: not usable as a ledger ({reason}). {advice}.") from None


def run_key(network_sha256: str, config: SelectionConfig, normalization: Normalization) -> dict[str, Any]:
    """What a ledger belongs to: network file, settings that can change a verdict, normalisation of the input."""
    return {
        "network": network_sha256,
        "settings": config.as_dict(),
        "normalization": [list(normalization.mean), list(normalization.std)],
    }


def _verdict(row: tuple[Any, ...]) -> Verdict:
    fields = dict(zip(_COLUMNS, row, strict=True))
    if (blob := fields["point"]) is not None:
        shape, data = blob.split(b"\n", 1)
        fields["point"] = np.frombuffer(data, dtype="<f4").reshape(json.loads(shape)).astype(np.float32)
    return Verdict(**fields)
