"""What delay correction does for sSVD, delay by delay, beside what any estimate of the delay could do.

"true_delay" takes out the very delay that the curves were made with: no estimate can be better informed. "own_prior"
knows the residues, transit times and delays of the grid and weighs them by how well their curves fit: an estimate from
single curves cannot know more. Between these two lies what noise costs; above them, what is left to gain.
"""

import deconvolution_tiles as tiles
import torch

from ctp_torch import ops
from ctp_torch.ops.deconvolution.capillary import gamma_dictionary
from ctp_torch.ops.deconvolution.dictionary import posterior_of_last
from ctp_torch.ops.deconvolution.units import flow_per_peak, volume_per_area
from ctp_torch.phantom import curves as closed_form

NOISE_HU = 0.5
DRAWS = 8
SHAPES = (1.0, 3.0, 30.0)
CBV = 3.0


def by_delay():
    """Correlation, slope and mean error of CBF at each delay: mean over the noise draws, smallest and largest."""
    rows = []
    for input_name, bolus in tiles.BOLUSES.items():
        draws = [_one_draw(bolus, seed) for seed in range(DRAWS)]
        print(f"\nCBF at each delay, {input_name} AIF, mean of {DRAWS} noise draws: correlation, slope, mean error of")
        print("        " + "".join(f"{name:24s}" for name in draws[0][0]))
        for i, delay in enumerate(tiles.DELAYS):
            row = {name: _spread([draw[i][name] for draw in draws]) for name in draws[0][i]}
            print(
                f"  {delay:3.1f} s "
                + "".join(f"{p['r']:.3f} {p['slope']:.2f} {p['mae']:5.2f}       " for p in row.values())
            )
            better = {
                "r": sum(draw[i]["corrected"]["r"] > draw[i]["ssvd"]["r"] for draw in draws),
                "mae": sum(draw[i]["corrected"]["mae"] < draw[i]["ssvd"]["mae"] for draw in draws),
                "slope": sum(
                    abs(draw[i]["corrected"]["slope"] - 1) < abs(draw[i]["ssvd"]["slope"] - 1) for draw in draws
                ),
            }
            rows.append({"aif": input_name, "delay": delay, **row, "draws_corrected_is_better": better})
    return rows


def _one_draw(bolus, seed):
    """For each delay, the agreement of every variant's CBF with the truth."""
    curves, aif, truth = tiles.tile_curves(bolus, 1.0, NOISE_HU, seed=seed)
    taken_out = [_without(curves, bolus, delay) for delay in tiles.DELAYS]
    own = _own_posterior(curves, bolus)
    averaged = sum(own[:, i, None] * found.k for i, found in enumerate(taken_out))
    flows = {
        "ssvd": ops.ssvd(curves, aif, 1.0).cbf,
        "corrected": ops.delay_corrected_ssvd(curves, aif, 1.0).cbf,
        "own_prior": averaged.amax(dim=1) * flow_per_peak(),
    }
    found = []
    for delay, informed in zip(tiles.DELAYS, taken_out, strict=True):
        here = truth["delay"] == delay
        shown = {**flows, "true_delay": informed.cbf}
        found.append({name: tiles.agreement(x[here], truth["cbf"][here]) for name, x in shown.items()})
    return found


def _without(curves, bolus, delay):
    """Standard SVD of curves moved forward by the whole seconds of a delay, behind the exact AIF moved by the rest."""
    frames, rest = divmod(delay, 1.0)
    padded = torch.cat((curves, curves[:, -3:].mean(dim=1, keepdim=True).expand(-1, int(frames))), dim=1)
    aif = closed_form.arterial_curve(tiles.frames(1.0) - rest, bolus).float()
    return ops.ssvd(padded[:, int(frames) :], aif, 1.0)


def _own_posterior(curves, bolus):
    """Posterior (voxels, delays) when all that is unknown is which of the grid's own curves it is."""
    mtt, delay = torch.meshgrid(
        torch.tensor(tiles.MTT, dtype=torch.float64), torch.tensor(tiles.DELAYS, dtype=torch.float64), indexing="ij"
    )
    mtt, delay = (g.reshape(-1, 1) for g in (mtt, delay))
    atoms = torch.cat([residue(tiles.frames(1.0), bolus, flow=1.0, mtt=mtt, delay=delay) for residue in tiles.RESIDUES])
    return posterior_of_last(curves, atoms, atoms.new_zeros(len(atoms)), len(tiles.DELAYS))


def _spread(draws):
    """Mean of each figure over the draws, and its range."""
    row = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        row[name] = sum(values) / len(values)
        row[f"{name}_range"] = [min(values), max(values)]
    return row


def bound():
    """Cramer-Rao bound on the sd [s] of the delay of one curve, flow, MTT and delay unknown, shape known or not."""
    rows = []
    fine = tiles.frames(0.05)
    for input_name, bolus in tiles.BOLUSES.items():
        print(f"\nbound on the sd of the delay [s], {input_name} AIF, {NOISE_HU} HU, CBV {CBV:g}; shape known, unknown")
        aif = closed_form.arterial_curve(fine, bolus)
        for shape in SHAPES:
            row = []
            for mtt in tiles.MTT:
                near = {"mtt": (mtt * 0.99, mtt, mtt * 1.01), "shape": (shape * 0.99, shape, shape * 1.01)}
                grids = (*(torch.tensor(near[name], dtype=torch.float64) for name in ("shape", "mtt")),)
                delays = torch.tensor((0.25, 0.5, 0.75), dtype=torch.float64)
                _, atoms = gamma_dictionary(aif, fine, tiles.frames(1.0), *grids, delays)
                c = CBV / volume_per_area() * atoms.view(3, 3, 3, -1)  # (shape, mtt, delay, time) [HU]
                slopes = torch.stack(
                    (
                        c[1, 1, 1],
                        (c[1, 2, 1] - c[1, 0, 1]) / 0.02,
                        (c[1, 1, 2] - c[1, 1, 0]) / 0.5,
                        (c[2, 1, 1] - c[0, 1, 1]) / 0.02,
                    )
                )
                information = slopes @ slopes.T / NOISE_HU**2
                known, free = (
                    float(torch.linalg.inv(part)[2, 2].sqrt()) for part in (information[:3, :3], information)
                )
                row.append({"aif": input_name, "shape": shape, "mtt": mtt, "shape_known": known, "shape_unknown": free})
            cells = "".join(f"  MTT {p['mtt']:4.1f}: {p['shape_known']:.2f} {p['shape_unknown']:.2f}" for p in row)
            print(f"  shape {shape:4.0f}{cells}")
            rows += row
    return rows
