"""Whether a place may be written to: taken, listed, changed, read by the run itself, or claimed by another one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ctp_torch.errors import OutputExistsError
from ctp_torch.io.delivery import Claim, mark_of, several
from ctp_torch.io.listing import LISTING, Listing, fingerprints, read_listing
from ctp_torch.io.workplace import PREFIX

__all__ = ["check_folder", "claim_file", "claim_folder", "delivered"]


def claim_folder(
    place: str | Path,
    *,
    force: bool = False,
    inputs: Sequence[str | Path | None] = (),
    plan: str | None = None,
    listed: bool = True,
    apart: Sequence[str] = (),
) -> Claim:
    """A folder of results claimed for this run: absent, empty, or as an earlier run of ours left it.

    Parameters
    ----------
    place
        the folder; its parents are made
    force
        replace the results of an earlier run; those of an interrupted one are replaced without
    inputs
        files and folders that the run reads: none may be among what it replaces
    plan
        makes what is written before an interruption be kept for a claim with the same plan
    listed
        leave a list of the results in the folder; without one ``force`` replaces files of the same names only
    apart
        names in the folder that are the run's own, and no results

    Raises
    ------
    OutputExistsError
        when it is taken, holds what no run of ours listed or what was changed since, can't be written, or when another
        run is writing there
    """
    place = Path(place)
    root = _folder(place)
    claim = Claim(place, root, plan=plan, listed=listed)
    try:
        claim.before = _replaceable(place, root, force=force, inputs=inputs, listed=listed, apart=apart)
    except BaseException:
        claim.close()
        raise
    return claim


def check_folder(place: str | Path, *, force: bool = False, apart: Sequence[str] = ()) -> None:
    """Refuse what `claim_folder` would refuse, without claiming it: nothing is touched or made."""
    _replaceable(Path(place), _folder(Path(place)), force=force, apart=apart)


def _folder(place: Path) -> Path:
    """Where a folder of results really lies or will lie."""
    root = Path(os.path.realpath(place))
    if root.exists() and not root.is_dir():
        raise OutputExistsError(f"{place} exists already and is a file: choose another place for the folder")
    return root


def _replaceable(
    place: Path,
    root: Path,
    *,
    force: bool,
    inputs: Sequence[str | Path | None] = (),
    listed: bool = True,
    apart: Sequence[str] = (),
) -> Listing:
    """What an earlier run left in a folder, all of it free to be replaced."""
    if not root.is_dir() or all(entry.name.startswith(PREFIX) or entry.name in apart for entry in root.iterdir()):
        return Listing({})
    before = read_listing(root / LISTING)
    if before is None and force and not listed:
        return Listing({})
    if before is None:
        raise OutputExistsError(
            f"{place} exists already and holds files that ctp-torch didn't list as its own; it never removes such, "
            "with --force or without: choose a new or an empty folder"
        )
    begun = before.unfinished and not before.untouched(root, mark_of(before.earlier))
    if not force and not begun:
        raise OutputExistsError(f"{place} exists already: choose another place, or replace it with --force")
    there = [name for name in before.names if os.path.lexists(root / name)]
    for input_path in _real(inputs):
        if input_path.is_relative_to(root) and any((root / name).is_relative_to(input_path) for name in there):
            raise OutputExistsError(f"{input_path} is read by this run, which would replace it: choose another place")
    changed = [name for name in there if not before.wrote(root, name)]
    if changed:
        raise OutputExistsError(
            f"{several(root, changed)} changed since ctp-torch wrote it: move it away, or choose another place; "
            "nothing was touched"
        )
    return before


def claim_file(
    path: str | Path, *others: str | Path, force: bool = False, inputs: Sequence[str | Path | None] = ()
) -> Claim:
    """A file claimed for this run, with those that may come to lie beside it.

    They are to be written under their names into the claim's folder, the first always.

    Parameters
    ----------
    path, others
        the files, all of one folder; its parents are made
    force
        replace files of these names; those of an interrupted run are replaced without
    inputs
        files that the run reads: none may be among what it replaces

    Raises
    ------
    OutputExistsError
        when one is taken, is read, or can't be written, or when another run is writing there
    """
    path = Path(path)
    names = [path.name, *(Path(other).name for other in others)]
    claim = Claim(path, Path(os.path.realpath(path.parent)), names)
    root = claim.root
    try:
        there = [name for name in names if os.path.lexists(root / name)]
        for name in there:
            if (root / name).is_dir():
                raise OutputExistsError(f"{path.with_name(name)} exists already and is a folder: choose another name")
            if any(input_path.exists() and input_path.samefile(root / name) for input_path in _real(inputs)):
                raise OutputExistsError(f"{path.with_name(name)} is read by this run: choose another name")
        begun = read_listing(claim.listing)
        if begun is None or begun.untouched(root, path.name):
            begun = Listing({})
        existing = [name for name in there if not begun.wrote(root, name)]
        if existing and not force:
            raise OutputExistsError(
                f"{path.with_name(existing[0])} exists already: choose another name, or replace it with --force"
            )
        links = {name: (0, "") for name in there if (root / name).is_symlink()}
        claim.before = Listing(links | fingerprints(root, [name for name in there if name not in links]))
    except BaseException:
        claim.close()
        raise
    return claim


@contextmanager
def delivered(
    place: str | Path, *, force: bool = False, inputs: Sequence[str | Path | None] = (), digest: bool = True
) -> Iterator[Path]:
    """A folder whose files move to ``place`` at the end of the block, all or none: `claim_folder` and its delivery."""
    with claim_folder(place, force=force, inputs=inputs) as claim, claim.delivered(digest=digest) as folder:
        yield folder


def _real(inputs: Sequence[str | Path | None]) -> list[Path]:
    """Where the inputs really lie."""
    return [Path(os.path.realpath(input_path)) for input_path in inputs if input_path is not None]
