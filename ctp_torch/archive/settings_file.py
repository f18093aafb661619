"""The file that tells a node what to do: TOML to frozen dataclasses, every key checked, each refusal named."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from ctp_torch.archive.settings import FORMATS, Destination, DicomDoor, NodeSettings, Page, Peer, Secret, Source, Tls
from ctp_torch.errors import OptionError

__all__ = ["loopback", "read_settings"]

T = TypeVar("T")
_WORDS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS = {"watch": ("orthanc", "dicomweb", "folder"), "send": ("dicom", "stow", "orthanc", "folder")}
_SHORT = {"password_env": ("password", "env"), "password_file": ("password", "file"), "token_env": ("token", "env"),
          "token_file": ("token", "file"), "certificate": ("tls", "certificate"), "key": ("tls", "key"),
          "authorities": ("tls", "authorities")}  # fmt: skip
"""Keys of the file, and the parts that they belong to."""
_PARTS: Mapping[str, type] = {"password": Secret, "token": Secret, "tls": Tls}


def read_settings(path: str | Path) -> NodeSettings:
    """The settings in a TOML file.

    Parameters
    ----------
    path
        as ``ctp-torch node init`` writes one; relative paths in it are relative to its folder

    Raises
    ------
    OptionError
        naming the key that is unknown, missing, or can't be meant
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"{path} can't be read ({error.strerror}): write one with ctp-torch node init {path}"
        ) from error
    except ValueError as error:
        raise OptionError(f"{path} is no TOML: {error}") from error
    try:
        settings = _node(table, path.parent)
        _check(settings)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None
    return settings


def _node(table: Mapping[str, Any], home: Path) -> NodeSettings:
    """The whole file."""
    known = {"node", "maps", "dicom", "watch", "send", "page"}
    if unknown := sorted(set(table) - known):
        raise OptionError(f"no such part: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    door = dict(table.get("dicom", {}))
    peers = tuple(_build(Peer, one, "[[dicom.peer]]") for one in door.pop("peer", ()))
    parts: dict[str, Any] = {
        "dicom": _build(DicomDoor, door, "[dicom]", peers=peers),
        "watch": tuple(_build(Source, one, "[[watch]]") for one in table.get("watch", ())),
        "send": tuple(_build(Destination, one, "[[send]]") for one in table.get("send", ())),
        "page": _build(Page, table.get("page", {}), "[page]"),
        "maps": dict(table.get("maps", {})),
    }
    node = dict(table.get("node", {}))
    folder = node.pop("folder", None)
    if not isinstance(folder, str) or not folder:
        raise OptionError('[node] needs folder = "...", a place on a local disk')
    return _build(NodeSettings, node, "[node]", folder=(home / folder).absolute(), **parts)


def _build(kind: type[T], table: Any, where: str, **given: Any) -> T:
    """One part, each value of its type."""
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} is no table")
    values: dict[str, Any] = dict(given)
    inner: dict[str, dict[str, str]] = {}
    own = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    simple = [name for name in own if name not in (*_PARTS, *given)]
    short = [name for name, (part, _) in _SHORT.items() if part in own]
    for name, value in table.items():
        if name in short:
            part, key = _SHORT[name]
            inner.setdefault(part, {})[key] = _typed(value, "str", f"{where} {name}")
        elif name in simple:
            values[name] = _typed(value, str(own[name].type), f"{where} {name}")
        else:
            raise OptionError(f"{where} knows no {name}; known: {', '.join(sorted([*simple, *short]))}")
    values |= {part: _PARTS[part](**words) for part, words in inner.items()}
    missing = [one.name for one in own.values() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [name for name in missing if name not in values]:
        raise OptionError(f"{where} needs {' and '.join(missing)}")
    return kind(**values)


def _typed(value: Any, wanted: str, where: str) -> Any:
    """The value, where it is of that type."""
    if wanted == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e9:
            raise OptionError(f"{where} = {value}: give a number from 0 on")
        return float(value)
    if wanted == "int" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if wanted == "bool" and isinstance(value, bool):
        return value
    if wanted == "str" and isinstance(value, str):
        return value
    if wanted.startswith("tuple[str") and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    names = {"float": "a number", "int": "a whole number from 0 on", "bool": "true or false", "str": "a text"}
    raise OptionError(f"{where} = {value!r}: give {names.get(wanted, 'a list of texts')}")


def loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(settings: NodeSettings) -> None:
    """Refuse what fits its type and can't be meant."""
    for part, kinds in _KINDS.items():
        names = []
        for one in getattr(settings, part):
            where = f"[[{part}]] {one.name or one.kind}"
            if one.kind not in kinds:
                raise OptionError(f"{where}: unknown kind {one.kind!r}; choose among {', '.join(kinds)}")
            needs = {"folder": "folder", "dicom": "host", "orthanc": "url", "stow": "url", "dicomweb": "url"}[one.kind]
            if not getattr(one, needs):
                raise OptionError(f"{where} needs {needs}")
            if not _WORDS.fullmatch(one.name or one.kind):
                raise OptionError(f"{where}: a name is letters, digits, - and _")
            names.append(one.name or one.kind)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise OptionError(f"[[{part}]]: several are called {', '.join(twice)}; give each its own name")
    for one in settings.send:
        if unknown := [name for name in one.formats if name not in FORMATS]:
            raise OptionError(f"[[send]] {one.name or one.kind}: unknown formats {', '.join(unknown)}")
        if one.kind == "dicom" and not one.aet:
            raise OptionError(f"[[send]] {one.name or one.kind} needs aet, the archive's title")
    if not loopback(settings.dicom.host) and not settings.dicom.peers and settings.dicom.port:
        raise OptionError(
            f"[dicom] host {settings.dicom.host} is reached from other machines: list who may send as [[dicom.peer]]"
        )
    if (
        not loopback(settings.page.host)
        and settings.page.port
        and not (settings.page.tls.certificate and settings.page.token != Secret())
    ):
        raise OptionError(
            f"[page] host {settings.page.host} is reached from other machines: give a certificate and a token, or "
            'leave host = "127.0.0.1"'
        )
    for name in ("workers", "attempts"):
        if not 1 <= getattr(settings, name) <= 64:
            raise OptionError(f"[node] {name} must be 1 to 64")
    if not settings.quiet_s <= settings.settle_s <= settings.deadline_s:
        raise OptionError("[node] quiet_s <= settle_s <= deadline_s must hold")
