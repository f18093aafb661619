"""Random damage by the thousand, counted by outcome: ``PYTHONPATH=.:tests python -m hostile.campaign 5000 400``.

The first number of damaged scans goes through `read_series`, the second through ``ctp-torch maps``.
"""

import contextlib
import gc
import io
import json
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from scenes import write_scan

from ctp_torch.cli import console, main
from ctp_torch.io import write_nifti_series
from ctp_torch.io.read_series import read_series
from hostile.mutations import BYTES, CONTAINERS, KINDS, Mutation, bounded, damage, outcome, place_of, read

MAPS_SECONDS = 60.0


def drawn(n, containers, first):
    """So many mutations, all containers and kinds alike."""
    for seed in range(first, first + n):
        yield Mutation(containers[seed % len(containers)], KINDS[seed // len(containers) % len(KINDS)], seed)


def counted(mutations, home, attempt):
    """Outcomes of the mutations by container; the stack of every error that is none of ours is printed."""
    counts = Counter()
    for mutation in mutations:
        work = home / "work"
        shutil.copytree(home / mutation.container, work)
        damage(mutation, work)
        try:
            came = attempt(mutation, work)
        except TimeoutError:
            came = "hang"
        except MemoryError:
            came = "flood"
        except Exception:  # noqa: BLE001 - this is what is looked for
            came = "traceback"
            print(mutation)
            traceback.print_exc()
        counts[mutation.container, came] += 1
        shutil.rmtree(work)
    return counts


def through_reader(n, home, first):
    """Damaged scans read."""
    for name, make in CONTAINERS.items():
        make(home / name)
    good = {name: read(name, home / name) for name in CONTAINERS}
    return counted(
        drawn(n, list(CONTAINERS), first),
        home,
        lambda m, work: outcome(lambda: read(m.container, work), good[m.container]),
    )


def through_maps(n, home, first):
    """Damaged scans mapped: DICOM files and a NIfTI of a head of 64 x 64 pixels, 2 slices and 24 frames."""
    write_scan(home / "explicit", n=64, n_slices=2, frames=24)
    write_nifti_series(home / "nifti_gz" / "ctp.nii.gz", read_series(home / "explicit"))
    good = {name: mapped(name, home / name, home / "good" / name) for name in ("explicit", "nifti_gz")}
    assert {code for code, _, _ in good.values()} == {0}, good

    def attempt(mutation, work):
        code, warnings, values = mapped(mutation.container, work, home / "out")
        shutil.rmtree(home / "out", ignore_errors=True)
        usual = good[mutation.container]
        if code:
            return "refused"
        if set(warnings) - set(usual[1]):
            return "warned"
        return "same" if values == usual[2] else "otherwise"

    return counted(drawn(n, ["explicit", "nifti_gz"], first), home, attempt)


def mapped(container, folder, out):
    """Exit code of ``ctp-torch maps``, its warnings, and the bytes of its CBF map."""
    said = io.StringIO()
    sys.argv = ["ctp-torch", "maps", str(place_of(container, folder)), "-o", str(out), "--registration", "none"]
    code = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), bounded(MAPS_SECONDS):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    console.settings.debug = console.settings.quiet = False
    gc.collect()
    if code:
        assert said.getvalue().count("error: ") == 1, said.getvalue()
        assert not out.exists()
        return code, [], b""
    return code, json.loads((out / "run.json").read_text())["warnings"], (out / "cbf.nii.gz").read_bytes()


def table(title, counts):
    """The counts as lines of Markdown."""
    outcomes = ("same", "warned", "otherwise", "refused", "traceback", "hang", "flood")
    print(f"\n| {title} | {' | '.join(outcomes)} |\n|---|{'---:|' * len(outcomes)}")
    for name in sorted({container for container, _ in counts}):
        print(f"| {name} | {' | '.join(str(counts[name, o]) for o in outcomes)} |")
    sums = [sum(n for (_, came), n in counts.items() if came == o) for o in outcomes]
    print(f"| all {sum(sums)} | {' | '.join(map(str, sums))} |")


if __name__ == "__main__":
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    numbers = [int(n) for n in sys.argv[1:3]]
    with tempfile.TemporaryDirectory() as folder:
        table("read_series", through_reader(numbers[0], Path(folder), first))
    with tempfile.TemporaryDirectory() as folder:
        table("maps", through_maps(numbers[1], Path(folder), first))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\npeak of memory {peak:.2f} GB, every input within {BYTES / 1e9:g} GB of what was taken before it")
