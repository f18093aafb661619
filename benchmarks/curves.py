"""Synthetic time curves and 8-bit maps for the benchmarks: many patients, realistic amplitudes, one seed.

Pixels of grey matter, white matter, vessels and strokes. Every patient has an arterial input function of their own
(a gamma variate with recirculation); a curve is that function, delayed, convolved with an exponential residue on a
grid ten times finer than the frames, on top of the tissue's own attenuation, plus noise. Features are HU / 600.
"""

import torch

_FINE = 10  # steps per frame
_CHUNK = 100_000
_NOISE = {"high": 1.0, "low": 0.41}  # as acquired (5-10 HU) and about what a 3 x 3 median leaves


def time_curves(n, *, n_patients=30, noise="high", n_frames=60, dt=1.0, seed=0):
    """Features (n, n_frames) in 0..1 and targets (n, 4): cbv, cbf, mtt and tmax as colour indices 0..255."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def normal(mean, sd, *shape):
        return mean + sd * torch.randn(*shape, generator=generator)

    aif = {
        "onset": uniform(6, 14, n_patients),
        "shape": uniform(2.5, 3.5, n_patients),
        "scale": uniform(1.3, 2.2, n_patients),
        "peak": uniform(220, 340, n_patients),
    }
    sigma = uniform(5, 10, n_patients) * _NOISE[noise]
    X, Y = torch.empty(n, n_frames), torch.empty(n, 4)
    for start in range(0, n, _CHUNK):
        m = min(_CHUNK, n - start)
        patient = torch.randint(0, n_patients, (m,), generator=generator)
        u = torch.rand(m, generator=generator)
        white, vessel, stroke = u < 0.45, u > 0.97, torch.rand(m, generator=generator) < 0.15
        cbf = torch.where(white, normal(22, 5, m), normal(55, 13, m)).clamp_min(3)  # mL/100 g/min
        mtt = torch.where(white, normal(5.0, 0.8, m), normal(4.2, 0.7, m)).clamp_min(1.5)  # s
        delay = uniform(0, 2.5, m)  # s
        deficit = uniform(0.15, 0.8, m)
        cbf = torch.where(stroke, cbf * deficit, cbf)
        mtt = torch.where(stroke, mtt / deficit.sqrt(), mtt)
        delay = torch.where(stroke, delay + uniform(1, 8, m), delay)
        mtt = torch.where(vessel, uniform(1.5, 4.0, m), mtt)
        cbf = torch.where(vessel, uniform(100, 900, m), cbf)
        base = torch.where(white, normal(27, 2, m), normal(36, 2.5, m))  # HU before the contrast agent
        base = torch.where(vessel, normal(42, 3, m), base)
        enhancement = _convolved({k: v[patient] for k, v in aif.items()}, cbf, mtt, delay, n_frames, dt)
        hu = base[:, None] + enhancement + sigma[patient, None] * torch.randn(m, n_frames, generator=generator)
        X[start : start + m] = (hu / 600.0).clamp(0.0, 1.0)
        cbv = cbf * mtt / 60.0  # mL/100 g
        truth = torch.stack([cbv / 8.0, cbf / 90.0, mtt / 14.0, (delay + mtt / 2) / 16.0], dim=1)
        Y[start : start + m] = (255.0 * truth + normal(0, 6, m, 4)).round().clamp(0, 255)
    return X, Y


def _convolved(aif, cbf, mtt, delay, n_frames, dt):
    """Enhancement (pixels, n_frames) in HU: CBF times the delayed AIF convolved with exp(-t / MTT)."""
    step = dt / _FINE
    decay = torch.exp(-step / mtt)
    flow = cbf / 6000.0 * 1.04 / 0.73 * step  # mL/100 g/min to 1/s; tissue density, large and small vessel haematocrit
    concentration = torch.zeros_like(cbf)
    frames = []
    for k in range(n_frames * _FINE):
        if k % _FINE == 0:
            frames.append(concentration)
        t = k * step - delay - aif["onset"]
        concentration = concentration * decay + flow * (_bolus(t, aif) + 0.25 * _bolus((t - 12.0) / 2.0, aif))
    return torch.stack(frames, dim=1)


def _bolus(t, aif):
    """A gamma variate with the given peak, at times t after its onset."""
    t_peak = aif["shape"] * aif["scale"]
    relative = (t / t_peak).clamp_min(0.0)
    return aif["peak"] * (relative.clamp_min(1e-6).log() - relative + 1.0).mul(aif["shape"]).exp() * (relative > 0)
