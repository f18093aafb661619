"""A digital patient in memory: the scan as the scanner delivers it, and the truth behind it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.ops.deconvolution.units import flow_per_peak, volume_per_area
from ctp_torch.phantom.acquisition import Enhancement, Protocol, Slab, enhance, expose, geometry_of
from ctp_torch.phantom.anatomy import Head, draw_materials
from ctp_torch.phantom.deformation import draw_deformation
from ctp_torch.phantom.motion import MotionClass, draw_motion, draw_motion_class
from ctp_torch.phantom.noise import noise_amplitude, noise_images, noise_profile
from ctp_torch.phantom.perfusion import draw_texture, transit_shapes
from ctp_torch.phantom.physiology import blood_curves, draw_physiology
from ctp_torch.phantom.slab import CHANNELS, Person, build_slab
from ctp_torch.phantom.stroke import Collaterals, Stroke, draw_stroke
from ctp_torch.phantom.template import load_template
from ctp_torch.phantom.vessels import grow_vessels

__all__ = ["LABELS", "Patient", "PatientTruth", "ScanVariant", "draw_diagnosis", "draw_person", "render_patient"]

LABELS = ("air", "scalp", "skull", "csf", "grey", "white", "artery", "vein", "old infarct")
"""Tissue names by label."""

_TEMPLATE_HEIGHT_MM = 8.0
"""Template height at the middle of the scan: basal ganglia and ventricles."""


@dataclass(frozen=True)
class PatientTruth:
    """What is really there, in the pose of frame 0."""

    maps: dict[str, Tensor]
    """cbf [mL/100 g/min], cbv [mL/100 g], mtt, tmax, delay [s]: ``(z, y, x)``, 0 outside the brain. The flow of large
    vessels isn't defined: cbf and mtt there are those of the tissue around."""
    labels: Tensor
    """``(z, y, x)`` uint8, index into ``LABELS``."""
    territory: Tensor
    """``(z, y, x)`` uint8: 1 + index into ``TERRITORIES``, + 5 on the left, 0 outside the brain."""
    brain: Tensor
    """``(z, y, x)`` bool, inside the skull."""
    core: Tensor
    """``(z, y, x)`` bool: flow below 30 % and volume below 60 % of what they were."""
    penumbra: Tensor
    """``(z, y, x)`` bool: flow below half of what it was, not core."""
    times: Tensor
    """``(time,)`` [s]"""
    aif: Tensor
    """``(time,)`` arterial enhancement [HU], free of partial volume."""
    vof: Tensor
    """``(time,)`` venous enhancement [HU]."""
    motion: Tensor
    """``(time, 6)``: rx, ry, rz [degrees], tx, ty, tz [mm]; x_frame = R (x_ref - c) + c + t in LPS, R = Rz Ry Rx."""
    motion_centre: tuple[float, float, float]
    """c, the centre of the volume [mm]."""
    facts: dict[str, object]
    """Age, diagnosis, bolus and noise, as plain values."""


class Patient(NamedTuple):
    """A scan and its truth."""

    series: CTPSeries
    truth: PatientTruth


@dataclass(frozen=True)
class ScanVariant:
    """What is seldom asked of a patient: other slices, a wider bolus, the same scan once more, finer collaterals."""

    slice_thickness_mm: float = 5.0
    slice_spacing_mm: float = 8.0
    """Distance of the slices' centres."""
    bolus_stretch: float = 1.0
    """Factor on the width of the bolus, whose area stays."""
    repeat: int = 0
    """0 for the scan, 1, 2 .. for the same scan with other noise: how well a measurement repeats."""
    collaterals: Collaterals = "graded"
    """graded: poor, moderate or good, with a gap between that no patient falls into; continuous: without one."""


def render_patient(
    seed: int,
    index: int,
    *,
    size: int = 512,
    slices: int = 6,
    frames: int = 60,
    dt: float = 1.0,
    dose: float = 1.0,
    noise_hu: float = 5.0,
    motion: MotionClass | None = None,
    variant: ScanVariant | None = None,
) -> Patient:
    """Patient ``index`` of the cohort ``seed``: the same pair always gives the same pixels.

    Parameters
    ----------
    seed, index
        which patient
    size
        rows and columns
    slices, frames, dt
        slices per frame, number of frames, time between them [s]
    dose
        relative to the reference; the noise goes with dose^-1/2
    noise_hu
        mean sd of the noise at 512 x 512, 5 mm and dose 1 [HU]; 0 for none. Patients scatter by LogN(0, .2)
    motion
        none, negligible, mild or severe; drawn from negligible and mild by default
    variant
        other slices, a stretched bolus, a repeated scan, continuous collaterals

    Returns
    -------
    Patient
        series with HU (time, z, y, x) in float32, and the truth

    Raises
    ------
    ValueError
        for settings no scanner has
    CTPError
        when the brain template isn't installed
    """
    variant = variant or ScanVariant()
    thickness = variant.slice_thickness_mm
    protocol = _protocol(seed, index, size, slices, frames, dt, thickness, variant.slice_spacing_mm)
    if not (dose > 0 and math.isfinite(dose) and noise_hu >= 0):
        raise ValueError(f"dose must be positive and noise_hu not negative, got dose={dose} and noise_hu={noise_hu}")
    if not (0.2 <= variant.bolus_stretch <= 5.0):
        raise ValueError(f"bolus_stretch must be 0.2 to 5, got {variant.bolus_stretch}")
    person = draw_person(seed, index, dt=dt, bolus_stretch=variant.bolus_stretch, collaterals=variant.collaterals)
    movement = _stream(seed, index, "motion")
    kind = motion or draw_motion_class(movement)
    path = draw_motion(movement, frames, kind)
    shapes = transit_shapes(person.physiology, person.stroke)
    blood = blood_curves(person.physiology, duration=frames * dt + 15.0, shapes=shapes)
    slab, parts, channels, territory = build_slab(person, blood, protocol, margin_mm=_displacement(path))

    geometry = geometry_of(protocol)
    times = (torch.arange(frames, dtype=torch.float64) * dt)[:, None].expand(frames, slices).contiguous()
    sd = noise_hu * math.exp(0.2 * float(torch.randn(1, generator=_stream(seed, index, "noise level"))))
    heights = _template_heights(protocol)
    profile = sd * noise_profile(size, protocol.fov_mm, heights, thickness_mm=thickness, dose=dose)
    noise = _stream(seed, index, f"noise {variant.repeat}" if variant.repeat else "noise")
    hu = _render(slab, parts, protocol, (times, path), profile, noise)
    facts = _facts(person, protocol, {"motion": kind, "noise_hu": sd / math.sqrt(dose)})
    moments = (times[:, 0] / blood.bank.step).round().long()
    curves = (times[:, 0], blood.aif[moments].float(), blood.vof[moments].float())
    centre = geometry.position(*[(n - 1) / 2 for n in geometry.shape])
    truth = _truth(channels, territory, curves, path, centre, facts)
    return Patient(CTPSeries(hu, times, geometry, Provenance(format="digital patient")), truth)


def draw_person(
    seed: int, index: int, *, dt: float = 1.0, bolus_stretch: float = 1.0, collaterals: Collaterals = "graded"
) -> Person:
    """Anatomy, physiology and diagnosis of patient ``index`` of the cohort ``seed``.

    Parameters
    ----------
    seed, index
        which patient
    dt
        time between frames [s]; at least 5 frames stay without contrast
    bolus_stretch
        factor on the width of the bolus, whose area stays
    collaterals
        as in `ScanVariant`
    """
    template = load_template()
    physiology = draw_physiology(_stream(seed, index, "physiology"), dt=dt, bolus_stretch=bolus_stretch)
    age = physiology.age
    shape = _stream(seed, index, "anatomy")
    head = Head(
        template,
        draw_deformation(shape, age=age),
        grow_vessels(_stream(seed, index, "vessels"), template),
        draw_materials(_stream(seed, index, "materials"), age=age),
    )
    diagnosis = draw_diagnosis(seed, index, collaterals=collaterals)
    return Person(head, draw_texture(_stream(seed, index, "texture")), physiology, diagnosis)


def draw_diagnosis(seed: int, index: int, *, collaterals: Collaterals = "graded") -> Stroke:
    """What ails patient ``index`` of the cohort ``seed``, without drawing the rest."""
    return draw_stroke(_stream(seed, index, "stroke"), collaterals=collaterals)


def _stream(seed: int, index: int, purpose: str) -> torch.Generator:
    """A generator of its own for each purpose, so that one more draw here changes nothing there."""
    digest = hashlib.sha256(f"{seed}/{index}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _protocol(
    seed: int, index: int, size: int, slices: int, frames: int, dt: float, thickness: float, spacing: float
) -> Protocol:
    """The checked settings, with this patient's field of view."""
    if size < 32 or slices < 1 or frames < 2:
        raise ValueError(f"size must be >= 32, slices >= 1, frames >= 2, got {size}, {slices}, {frames}")
    if not (dt > 0 and thickness > 0 and spacing > 0) or not math.isfinite(dt + thickness + spacing):
        raise ValueError(f"dt, thickness and spacing must be positive, got {dt} s, {thickness} mm and {spacing} mm")
    u = float(torch.rand(1, generator=_stream(seed, index, "fov")))
    return Protocol(size, slices, frames, dt, thickness, spacing, round(225.0 + 15.0 * u, 1))


def _displacement(path: Tensor) -> float:
    """Largest displacement [mm] of a point 100 mm from the centre."""
    return float((torch.deg2rad(path[:, :3]).norm(dim=1) * 100.0 + path[:, 3:].norm(dim=1)).max()) + 0.5


def _template_heights(protocol: Protocol) -> Tensor:
    """Height of the slices in the template [mm], size and pose left aside."""
    return _TEMPLATE_HEIGHT_MM + geometry_of(protocol).origin[2] + protocol.spacing_mm * torch.arange(protocol.slices)


def _render(
    slab: Slab,
    parts: tuple[Enhancement, Enhancement],
    protocol: Protocol,
    path: tuple[Tensor, Tensor],
    profile: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """HU ``(time, z, y, x)``: every frame enhanced, moved, averaged and made noisy."""
    times, motion = path
    amplitude = noise_amplitude(protocol.size, protocol.fov_mm)
    hu = torch.empty(protocol.frames, protocol.slices, protocol.size, protocol.size)
    noisy = bool((profile > 0).any())
    for frame in range(protocol.frames):
        volume = slab.hu.clone()
        for part in parts:
            enhance(volume, part, times[frame])
        hu[frame] = expose(volume, slab, protocol, motion[frame])
        if noisy:
            hu[frame] += profile * noise_images(protocol.slices, amplitude, generator)
    return hu.clamp_(-1024.0, 3071.0)


def _truth(
    channels: Tensor,
    territory: Tensor,
    curves: tuple[Tensor, Tensor, Tensor],
    path: Tensor,
    centre: tuple[float, float, float],
    facts: dict[str, object],
) -> PatientTruth:
    """Maps, labels and lesions from the slices' averages."""
    c = dict(zip(CHANNELS, channels, strict=True))
    brain = c["intracranial"] > 0.5
    matter = (c["grey"] + c["white"] + c["scar"]).clamp_min(1e-4)
    volume = c["volume"].clamp_min(1e-7)
    maps = {
        "cbf": flow_per_peak() * c["flow"],
        "cbv": volume_per_area() * (c["volume"] + c["artery"] + c["vein"]),
        "mtt": c["volume"] / c["flow"].clamp_min(1e-7),
        "tmax": c["tmax"] / volume,
        "delay": c["delay"] / volume,
    }
    tissue = brain & (matter > 0.1)
    maps = {name: values * (brain if name == "cbv" else tissue) for name, values in maps.items()}
    flow, blood = c["flow_factor"] / matter, c["volume_factor"] / matter
    solid = brain & (matter > 0.5) & (c["scar"] < 0.5 * matter)
    core = solid & (flow < 0.30) & (blood < 0.60)
    return PatientTruth(
        maps=maps,
        labels=_labels(c),
        territory=((territory + 1) * brain).to(torch.uint8),
        brain=brain,
        core=core,
        penumbra=solid & (flow < 0.5) & ~core,
        times=curves[0],
        aif=curves[1],
        vof=curves[2],
        motion=path,
        motion_centre=centre,
        facts=facts,
    )


def _labels(c: dict[str, Tensor]) -> Tensor:
    """The tissue that fills most of each voxel."""
    csf = c["intracranial"] - c["grey"] - c["white"] - c["scar"] - c["artery"] - c["vein"]
    scalp = c["head"] - c["bone"] - c["intracranial"]
    fractions = [1.0 - c["head"], scalp, c["bone"], csf, c["grey"], c["white"], c["artery"], c["vein"], c["scar"]]
    return torch.stack(fractions).argmax(0).to(torch.uint8)


def _facts(person: Person, protocol: Protocol, more: dict[str, object]) -> dict[str, object]:
    """What JSON can hold of the patient."""
    stroke: Stroke = person.stroke
    return {
        **person.physiology._asdict(),
        "bolus": person.physiology.bolus._asdict(),
        "stroke": {**stroke._asdict(), "old": [old._asdict() for old in stroke.old]},
        "protocol": protocol._asdict(),
        **more,
    }
