"""A sweep's folder while a sweep writes into it: held against others, every file in it whole or not there.

What lies in it, and how it is checked, is in ``results.manifest`` and ``results.sealed_parquet``. The order of what
happens makes it right at any moment: the manifest is there before the first part; a part appears by its rename, its
bytes on the disk; "complete" is written when all names are on the disk too, and taken back before a damaged part is
computed again.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from results.atomic_file import OutputError, to_disk, written_beside
from results.errors import ReadError
from results.manifest import MANIFEST, PART, Manifest, part_path, read_manifest
from results.sealed_parquet import is_sealed, sealed

if TYPE_CHECKING:
    import pandas as pd

UNFINISHED = re.compile(r"\.(part-\d{6}|manifest)\.[0-9a-f]{16}\.(parquet|json)")  # of a sweep that was killed
START_OVER = "--fresh starts over, or choose another folder"


class Folder:
    """A folder that holds this sweep and no other. ``damaged``: names of parts that were not as they were written."""

    def __init__(self, path: Path, handle: int, manifest: Manifest) -> None:
        self.path = path
        self.damaged: list[str] = []
        self._handle = handle
        self._manifest = manifest
        self._finished = False

    def begin(self, fresh: bool) -> list[int]:
        """Leave in the folder what is of this sweep, or nothing where it starts over; the parts that are missing.

        Raises OutputError where the folder holds anything else, or cannot be used.
        """
        with _sentences(self.path):
            for name in self._files(UNFINISHED):
                (self.path / name).unlink()
            held, unread = self._held()
            if fresh:
                self._remove(held, unread)
                held = None
            elif held is not None:
                self._check_same(held)
            self._check_listed(self._manifest)
            whole = {number for number in range(self._manifest.parts) if self._is_whole(number)}
            if unread and not whole:
                raise OutputError(unread)
            missing = [number for number in range(self._manifest.parts) if number not in whole]
            self._finished = held is not None and held.complete and not missing
            if held is None or (held.complete and missing):
                self._write_manifest(self._manifest)
            return missing

    def write(self, number: int, rows: pd.DataFrame) -> None:
        """Keep the rows of a part. Raises OutputError where they cannot be kept here."""
        self._check_there()
        with written_beside(part_path(self.path, number)) as beside:
            beside.write_bytes(sealed(rows, self._manifest.labels(number)))

    def complete(self) -> None:
        """Say that all parts are there, if nothing has said so yet. Raises OutputError where one is not."""
        if self._finished:
            return
        self._check_there()
        for number in range(self._manifest.parts):
            if not (part := part_path(self.path, number)).exists():
                raise OutputError(f"{part} was taken away while the sweep ran; the same command prices it again.")
        with _sentences(self.path):
            to_disk(self.path)
            self._write_manifest(self._manifest.model_copy(update={"complete": True}))
            to_disk(self.path)

    def _files(self, pattern: re.Pattern[str]) -> list[str]:
        """Names of a kind. Raises OutputError where the folder holds what is of no sweep."""
        names = sorted(path.name for path in self.path.iterdir())
        for name in names:
            ours = name == MANIFEST or PART.fullmatch(name) or UNFINISHED.fullmatch(name)
            if not ours or not (self.path / name).is_file():
                raise OutputError(f"{self.path} holds other files, such as {name}; a sweep has a folder of its own.")
        return [name for name in names if pattern.fullmatch(name)]

    def _held(self) -> tuple[Manifest | None, str]:
        """The manifest that is there, and what is wrong where there are files of which none tells."""
        try:
            held = read_manifest(self.path)
        except ReadError as error:
            return None, str(error)
        lost = held is None and self._files(PART)
        return held, f"{self.path} holds parts without a {MANIFEST}; choose another folder." if lost else ""

    def _remove(self, held: Manifest | None, unread: str) -> None:
        """Delete the parts that a manifest lists, and at last itself."""
        if unread:
            raise OutputError(f"{unread} --fresh deletes only what a manifest lists.")
        if held is None:
            return
        self._check_listed(held)
        for name in (*self._files(PART), MANIFEST):
            (self.path / name).unlink()

    def _check_listed(self, manifest: Manifest) -> None:
        """Raise OutputError for a part that a manifest does not list."""
        listed = {part_path(self.path, number).name for number in range(manifest.parts)}
        for name in self._files(PART):
            if name not in listed:
                raise OutputError(f"{self.path} holds {name}, which is no part of its sweep.")

    def _check_same(self, held: Manifest) -> None:
        """Raise OutputError where the folder is of another sweep, and say what differs."""
        asked = self._manifest
        if held.version != asked.version:
            raise OutputError(
                f"{self.path} was priced by version {held.version} of the model, this is {asked.version}; {START_OVER}."
            )
        was, now = held.scenario, asked.scenario
        if differing := [key for key in was | now if was.get(key) != now.get(key)]:
            told = ", ".join(differing)
            raise OutputError(f"{self.path} holds another scenario, which differs in {told}; {START_OVER}.")
        for key, names in asked.inputs.items():
            changed = [name for name, content in names.items() if held.inputs.get(key, {}).get(name) != content]
            if changed:
                raise OutputError(f"{changed[0]} has changed since {self.path} was priced with it; {START_OVER}.")
        if held.identity != asked.identity:
            raise OutputError(f"{self.path} is of another form of sweep than this one; {START_OVER}.")

    def _is_whole(self, number: int) -> bool:
        """Whether a part is there as it was written; if it is there otherwise, it is ``damaged``."""
        part = part_path(self.path, number)
        try:
            whole = is_sealed(part.read_bytes(), self._manifest.labels(number))
        except FileNotFoundError:
            return False
        if not whole:
            self.damaged.append(part.name)
        return whole

    def _write_manifest(self, manifest: Manifest) -> None:
        with written_beside(self.path / MANIFEST) as beside:
            beside.write_text(manifest.text(), encoding="utf-8")

    def _check_there(self) -> None:
        """Raise OutputError where the path leads no longer to the folder that is held."""
        held = os.fstat(self._handle)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
            raise OutputError(f"{self.path} was moved or replaced while the sweep ran; nothing more is written.")


@contextmanager
def open_folder(path: Path, manifest: Manifest) -> Iterator[Folder]:
    """The folder, made where it is missing, and held against another sweep; let go however this one ends.

    Raises OutputError in one sentence where it cannot be used.
    """
    with _sentences(path):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; a sweep is written into a folder.")
        path.mkdir(exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    try:
        with _sentences(path):
            _lock(path, handle)
        yield Folder(path, handle, manifest)
    finally:
        os.close(handle)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be used: {error.strerror}.") from None


def _lock(path: Path, handle: int) -> None:
    """Hold the folder; the system lets go of it when this process ends, however it does."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another sweep is writing into it; wait for it, or choose another folder.") from None
