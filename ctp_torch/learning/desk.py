"""Where patients are prepared: by several processes where there is much to do, and from what was kept before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError
from ctp_torch.io.dicom.index import find_files
from ctp_torch.io.unpacked import unpacked_size
from ctp_torch.pipeline.engine import Engine, Task, memory_of

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient

__all__ = ["Desk"]

_WORTH = 2e8
"""Bytes of images, all patients together, from which on starting processes pays."""


@dataclass(frozen=True)
class Desk:
    """How patients are made ready to learn from."""

    cache: Path | None = None
    """Folder of what was computed before; None for none."""
    engine: Engine | None = None
    """Who prepares many large patients; this process does when None."""
    check: bool = False
    """Whether to look for what makes maps wrong, and note it in ``flags``."""

    def each(self, patients: Sequence[CohortPatient], tasks: Mapping[int, Callable[[], None]]) -> Iterator[int]:
        """The numbers of the patients whose tasks are done, as they are.

        Parameters
        ----------
        patients
            of one cohort
        tasks
            number to what prepares that patient

        Raises
        ------
        CTPError
            of a patient that can't be prepared, as it would alone; or when its process was lost
        """
        numbers = list(tasks)
        sizes = [_size(patients[number].series_path) for number in numbers] if self.engine is not None else []
        if self.engine is None or len(numbers) < 2 or sum(sizes) < _WORTH:
            for number in numbers:
                tasks[number]()
                yield number
            return
        work = [Task(_Told(tasks[number]), memory_of(size)) for number, size in zip(numbers, sizes, strict=True)]
        for k, answer in self.engine.run(work):
            if isinstance(answer, CTPError):
                raise answer
            yield numbers[k]


@dataclass(frozen=True)
class _Told:
    """A task whose errors that a user would be told are answers, for they are to cross to another process."""

    do: Callable[[], None]

    def __call__(self) -> CTPError | None:
        """Do it."""
        try:
            self.do()
        except CTPError as error:
            return error
        return None


def _size(place: Path) -> float:
    """Bytes of a series' images; one that isn't there fails by itself."""
    try:
        return unpacked_size(find_files(place) if place.is_dir() else [place])
    except OSError:
        return 0.0
