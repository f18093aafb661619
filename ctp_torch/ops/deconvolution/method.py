"""One call form for all deconvolutions: a method of a passage, called with the passage or with what makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast, overload

from torch import Tensor

from ctp_torch.ops.deconvolution.passage import Passage
from ctp_torch.ops.deconvolution.result import Deconvolution
from ctp_torch.ops.deconvolution.units import KH, RHO

__all__ = ["PassageMethod", "deconvolution"]

Options = ParamSpec("Options")

_RULE = "----------\n"
_PASSAGE = """passage
    a :class:`Passage`, alone in place of all that describes it; raises and warns as its class says
"""


class PassageMethod(Protocol[Options]):
    """``method(passage, ...)``, or ``method(curves, aif, dt, ...)``."""

    __name__: str

    @overload
    def __call__(self, passage: Passage, /, *args: Options.args, **options: Options.kwargs) -> Deconvolution: ...
    @overload
    def __call__(
        self,
        curves: Tensor,
        aif: Tensor,
        dt: float,
        *,
        times: Tensor | None = None,
        aif_times: Tensor | None = None,
        kh: float = KH,
        rho: float = RHO,
        **options: Any,
    ) -> Deconvolution: ...


def deconvolution(method: Callable[Concatenate[Passage, Options], Deconvolution]) -> PassageMethod[Options]:
    """The method, callable with a passage or with curves, AIF and dt; documented and signed with both's parameters.

    Parameters
    ----------
    method
        ``(passage, *, option=default, ...) -> Deconvolution``, whose docstring has a section of parameters
    """
    shared = inspect.signature(Passage).parameters
    signature = inspect.signature(method)

    @wraps(method, assigned=("__module__", "__name__", "__qualname__"))  # doc and annotations are the two's together
    def call(*arguments: Any, **options: Any) -> Deconvolution:
        if not (arguments and isinstance(arguments[0], Passage)):
            arguments = (Passage(*arguments, **{name: options.pop(name) for name in shared if name in options}),)
        return method(*arguments, **options)

    own = list(signature.parameters.values())[1:]
    vars(call)["__signature__"] = signature.replace(parameters=[*shared.values(), *own])
    if method.__doc__ and Passage.__doc__:  # both are gone under python -OO
        common = inspect.cleandoc(Passage.__doc__).partition(_RULE)[2].partition("\n\nRaises")[0]
        text = inspect.cleandoc(method.__doc__)
        call.__doc__ = text.replace(_RULE, f"{_RULE}{_PASSAGE}{common}\n", 1)
    return cast("PassageMethod[Options]", call)
