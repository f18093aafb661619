"""Results to their place: claimed for one run, delivered whole, and nothing removed but what a run of ours wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType

from ctp_torch.errors import OutputExistsError
from ctp_torch.interrupts import Interrupted, undisturbed
from ctp_torch.io.listing import (
    LISTING,
    Fingerprint,
    Listing,
    fingerprints,
    flush,
    tree,
    write_listing,
)
from ctp_torch.io.workplace import KEPT, PREFIX, HeldError, Workplace, fixed_name, remove, sweep

__all__ = ["Claim", "mark_of", "on_its_way", "several"]

_RECORD = "run.json"
"""Stands only beside results that are whole: the last file into its place, and the first one out."""


class Claim:
    """A place that one run writes to, and all others are kept from until it is closed.

    Made by `claim_folder` and `claim_file`.

    Parameters
    ----------
    place
        as the user calls it
    root
        the folder that the results come to lie in
    names
        those that may come to lie there; None where the whole folder is the result
    plan
        what decides the results: an interrupted run is gone on with under the same plan only
    listed
        leave a list of the results in their folder; without one, only files of the same names can be replaced later
    """

    def __init__(
        self,
        place: Path,
        root: Path,
        names: Sequence[str] | None = None,
        *,
        plan: str | None = None,
        listed: bool = True,
    ) -> None:
        self.place, self.root, self._listed = place, root, listed and not on_its_way(root)
        self.before = Listing({})
        """What the delivery replaces."""
        self._names, self._plan = names, plan
        # a folder that exists is worked in from inside: it may be a disk of its own
        self._new = names is None and not root.is_dir()
        home = root.parent if self._new else root
        hidden = fixed_name(root.name if names is None else names[0])
        self.listing = root / (LISTING if names is None else f"{hidden}.json")
        self._made = [folder for folder in (home, *home.parents) if not folder.exists()]
        self.folder = home / hidden
        """A hidden folder for what is needed meanwhile."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            for folder in {home, root.parent}:
                sweep(folder)
            self._workplace = Workplace(self.folder)
            self._resume()
        except Interrupted:
            self._unmake()
            raise
        except HeldError as error:
            self._unmake()
            raise OutputExistsError(f"{place} is being written to by {error}: wait, or choose another place") from error
        except OSError as error:
            self._unmake()
            raise OutputExistsError(f"{home} can't be written ({error.strerror}): choose another place") from error

    def close(self) -> None:
        """Let others write here; what wasn't delivered is gone, unless the same run can go on with it."""
        self._workplace.close(keep=self._plan is not None)
        self._unmake()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def delivered(self, *, digest: bool = True) -> Iterator[Path]:
        """A folder to write the results to; at the end of the block they move to their place, all of them or none.

        A new folder appears by one renaming. In one that exists the record goes first and comes last.

        Parameters
        ----------
        digest
            note the SHA-256 of the files; without it their sizes alone, for results of many gigabytes

        Raises
        ------
        OutputExistsError
            when what isn't ours stands where a file is to go
        """
        staged = self.folder / "results"
        staged.mkdir(exist_ok=True)
        yield staged
        folders, names = tree(staged)
        now = fingerprints(staged, names, digest=digest)
        with undisturbed():  # renamings only
            if self._new:
                self._appear(staged, now)
            else:
                self._replace(staged, folders, now)
        flush(self.root.parent if self._names is None else self.root)
        self._plan = None

    def _mark_of(self, files: Mapping[str, Fingerprint]) -> str:
        """The file that tells that the results are whole."""
        return mark_of(files) if self._names is None else self._names[0]

    def _resume(self) -> None:
        """Keep what an interrupted run of the same plan left, and nothing else."""
        kept = self.folder / KEPT
        if kept.exists() and (self._plan is None or kept.read_text(encoding="utf-8") != self._plan):
            for entry in self.folder.iterdir():
                if not entry.name.startswith("."):
                    remove(entry)
        if self._plan is not None:
            kept.write_text(self._plan, encoding="utf-8")

    def _appear(self, staged: Path, now: Mapping[str, Fingerprint]) -> None:
        """A folder that wasn't there, in one step."""
        if self._listed:
            write_listing(staged / LISTING, Listing(now), workplace=self.folder)
        try:
            staged.rename(self.root)
        except OSError as error:
            if not os.path.lexists(self.root):
                raise
            raise OutputExistsError(f"{self.place} was made by another program meanwhile; it was left alone") from error

    def _replace(self, staged: Path, folders: Sequence[str], now: Mapping[str, Fingerprint]) -> None:
        """File by file into a folder that is there: the old mark first out, the new one last in."""
        root = self.root
        if self._names is None and not self.before.names:
            self.before = Listing({name: (0, "") for name in tree(root)[1] if name in now and not self._listed})
        before = self.before
        self._refuse_strangers(folders, now)
        if len(now) > 1 or before.names:  # one new file needs no note of what is under way
            under_way = Listing(now, {**before.earlier, **before.files}, unfinished=True)
            write_listing(self.listing, under_way, workplace=self.folder)
        old, new = self._mark_of(before.files), self._mark_of(now)
        for name in sorted(before.names, key=lambda name: name != old):
            (root / name).unlink(missing_ok=True)
        for name in folders:
            (root / name).mkdir(exist_ok=True)
        for name in sorted(now, key=lambda name: name == new):
            (staged / name).replace(root / name)
        for folder in sorted({p for name in before.names for p in PurePosixPath(name).parents}, reverse=True):
            with suppress(OSError):  # holds something: the user's, or this run's
                if folder.parts:
                    (root / folder).rmdir()
        flush(root)
        if self._names is None and self._listed:
            write_listing(self.listing, Listing(now), workplace=self.folder)
        else:
            self.listing.unlink(missing_ok=True)

    def _refuse_strangers(self, folders: Iterable[str], now: Iterable[str]) -> None:
        """Leave alone what isn't ours, where a result belongs."""
        names, root = self.before.names, self.root
        strange = [name for name in now if os.path.lexists(root / name) and name not in names]
        if not self._listed and self._names is None:
            strange += [name for name in tree(root)[1] if name not in names]
        for name in folders:
            place = root / name
            if not os.path.lexists(place) or any(file.startswith(f"{name}/") for file in names):
                continue
            if place.is_symlink() or not place.is_dir() or any(place.iterdir()):
                strange.append(name)
        if strange:
            raise OutputExistsError(
                f"{several(root, strange)} in the way of this run's results and not written by ctp-torch: move it "
                "away, or choose another place; nothing was touched"
            )

    def _unmake(self) -> None:
        """Remove the folders that were made for the place, where nothing came to lie in them."""
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def on_its_way(path: Path) -> bool:
    """Whether a path lies in a workplace, whose delivery will see to it."""
    return any(part.startswith(PREFIX) for part in path.parts)


def mark_of(files: Mapping[str, Fingerprint]) -> str:
    """The file of a folder that tells that its results are whole."""
    return _RECORD if _RECORD in files else max(files, default="")


def several(root: Path, names: Sequence[str]) -> str:
    """The first of some files, and how many more there are, as the subject of a sentence."""
    return f"{root / names[0]} is" if len(names) == 1 else f"{root / names[0]} and {len(names) - 1} more are"
