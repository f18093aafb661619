"""The named errors a user can cause: each message says what, where, and what to do."""

__all__ = [
    "CTPError",
    "ConvergenceWarning",
    "IncompleteSeriesError",
    "ModelMismatchError",
    "NoNormalTissueError",
    "NoSeriesError",
    "NotFittedError",
    "NumericalError",
    "OptionError",
    "OutputExistsError",
    "QualityError",
    "RankLostError",
    "UnreadableFileError",
    "check_type",
]


class CTPError(Exception):
    """An error with a cause the user can mend; the command line shows it without a traceback.

    Parameters
    ----------
    message
        what went wrong, where (file or series), and what to do about it
    """

    exit_code = 1


class OptionError(CTPError, ValueError):
    """An option that can't be meant: no number, no time, or none of the choices."""


class NoSeriesError(CTPError):
    """There is no CT perfusion series (or no cohort) at the given place."""

    exit_code = 3


class UnreadableFileError(CTPError):
    """A file is truncated, undecodable, or not what its name says."""

    exit_code = 4


class IncompleteSeriesError(CTPError):
    """(slice, time) cells are missing or doubled, or several series could be meant."""

    exit_code = 5


class OutputExistsError(CTPError):
    """The place to write to is taken or not writable."""

    exit_code = 6


class QualityError(CTPError):
    """Quality control refuses the series, under ``--strict``."""

    exit_code = 7


class ModelMismatchError(CTPError):
    """A model file is foreign, too new, or doesn't fit the series."""

    exit_code = 4


class NoNormalTissueError(CTPError):
    """All tissue is late or low, so that there is nothing to measure a lesion against."""


class NotFittedError(CTPError, ValueError):
    """``predict`` was called before ``fit``."""


class NumericalError(CTPError, ArithmeticError):
    """A computation ran into NaN, or a matrix that can't be factored."""


class RankLostError(CTPError, ConnectionError):
    """Another process of a distributed run died or fell silent."""


class ConvergenceWarning(UserWarning):
    """An iteration stopped before its tolerance; the message has the residual it reached."""


def check_type(value: object, kinds: type | tuple[type, ...], role: str, remedy: str = "") -> None:
    """Refuse an argument of the wrong kind, with what was expected, what was found and what to do.

    Parameters
    ----------
    value
        as given
    kinds
        what it may be
    role
        verb and argument, such as ``deconvolve: scan``
    remedy
        how to get what is expected

    Raises
    ------
    TypeError
        for any other kind
    """
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{role} must be {names}, got {type(value).__name__}" + (f": {remedy}" if remedy else ""))
