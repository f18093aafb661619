"""Many scans: which there are, what comes of each, and that stopping anywhere changes nothing of it."""

import csv
import json
import multiprocessing
import os
import shutil
import stat
import sys
import threading
import time
from functools import partial

import pytest
from scenes import write_scan

from ctp_torch.cohorts import LocalEngine, find_cases, run_cohort
from ctp_torch.cohorts.run import Shard
from ctp_torch.errors import CTPError, NoSeriesError, OptionError
from ctp_torch.io import StudyHeader, write_ct_series, write_nifti_series
from ctp_torch.io.unpacked import unpacked_size
from ctp_torch.pipeline.analysis import MapSettings
from ctp_torch.pipeline.engine import ATTEMPTS, Task, _Budget

SMALL = {"n": 48, "n_slices": 2, "frames": 30}
QUICK = MapSettings(registration="none", lesions=False)


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Two patients in folders, two series of a third one in one folder, a NIfTI, what can't be read, what is none."""
    root = tmp_path_factory.mktemp("dump")
    for i in range(2):
        write_scan(root / f"p{i}" / "ct", **SMALL, seed=i)
    for i in range(2):
        series = write_scan(root / "kept", **SMALL, seed=7 + i)
        write_ct_series(series, root / "both" / f"s{i}", header=StudyHeader(patient="third", seed=7 + i))
        shutil.rmtree(root / "kept")
    mixed = root / "mixed"
    mixed.mkdir()
    for folder in sorted((root / "both").iterdir()):
        for file in sorted(folder.iterdir()):
            file.rename(mixed / f"{folder.name}-{file.name}")
    shutil.rmtree(root / "both")
    series = write_scan(root / "kept", **SMALL, seed=9)
    shutil.rmtree(root / "kept")
    write_nifti_series(root / "nifti" / "sub-1_ctp.nii.gz", series)
    first = sorted((root / "p0" / "ct").iterdir())[0]
    plain = root / "plain"
    plain.mkdir()
    import pydicom

    one = pydicom.dcmread(first)
    one.SeriesInstanceUID = one.StudyInstanceUID = "1.2.3"
    one.save_as(plain / "one.dcm")
    (root / "notes.txt").write_text("no image")
    broken = root / "broken"
    shutil.copytree(root / "p1" / "ct", broken)
    for file in sorted(broken.iterdir()):
        one = pydicom.dcmread(file)
        one.SeriesInstanceUID = one.StudyInstanceUID = "1.2.4"
        one.save_as(file)
        file.write_bytes(file.read_bytes()[:-100])
    return root


def test_finds_the_scans_and_tells_what_it_passed_over(dump, tmp_path):
    """Mutations seen red: the whole folder as one case; single images taken for a series."""
    index = tmp_path / "index.json"
    cases, skipped = find_cases(dump, index=index)
    places = [str(case.source.relative_to(dump)) for case in cases]
    assert places == ["broken", "mixed", "mixed", "nifti/sub-1_ctp.nii.gz", "p0/ct", "p1/ct"]
    assert [case.example is not None for case in cases] == [False, True, True, False, False, False]
    assert {(str(one.source.relative_to(dump)), one.reason) for one in skipped} == {
        ("notes.txt", "no DICOM image"),
        ("plain", "too few time points"),
    }
    assert len({case.key for case in cases}) == 6
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert "1.2.4" not in index.read_text()
    assert find_cases(dump, index=index) == (cases, skipped)


def test_a_table_of_paths(dump, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text(f"path,dt\n{os.path.relpath(dump / 'p0' / 'ct', tmp_path)},2.0\n")
    (case,) = find_cases(table)[0]
    assert case.options == {"dt": "2.0"}
    for text, words in (("p,q\na,b\n", "no column|unknown"), ("path\nnowhere\n", "line 2: no nowhere")):
        table.write_text(text)
        with pytest.raises((OptionError, NoSeriesError), match=words):
            find_cases(table)
    with pytest.raises(NoSeriesError):
        find_cases(tmp_path / "gone")


def rows_in(out):
    with (out / "cohort.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_cohort_is_mapped_and_goes_on_where_it_stopped(dump, tmp_path):
    """A failing scan stops nobody; what stands isn't done again; what was changed or taken away is; no path is told.

    Mutations seen red: records not compared with the settings; the path left in messages.
    """
    cases, _ = find_cases(dump)
    out, begun = tmp_path / "out", []

    def run(settings=QUICK, **more):
        begun.clear()
        run_cohort(
            cases,
            out,
            settings,
            report=False,
            engine=LocalEngine(2),
            progress=lambda c, v, o: o is None and begun.append(c),
            **more,
        )
        return (out / "cohort.csv").read_bytes()

    first = run()
    rows = rows_in(out)
    assert [row["status"] for row in rows] == ["failed", *["done"] * 5]
    assert rows[0]["exit_code"] in ("4", "5")
    assert "the scan" in rows[0]["message"] or "file" in rows[0]["message"]
    assert str(dump) not in (out / "cohort.csv").read_text()
    assert stat.S_IMODE((out / "cases.private.csv").stat().st_mode) == 0o600
    assert str(dump / "p0") in (out / "cases.private.csv").read_text()
    assert len(begun) == len(cases)
    assert run() == first
    assert begun == []
    (out / "cases" / cases[4].key / "maps" / "cbf.nii.gz").unlink()
    os.utime(cases[5].files[0])  # another time, the same bytes
    assert run() == first
    assert begun == [cases[4].key]
    assert run(retry_failed=True) == first
    assert begun == [cases[0].key]
    run(MapSettings(registration="none", lesions=False, sigma_mm=3.0))
    assert len(begun) == len(cases)
    assert [p.name for p in out.iterdir() if p.name.startswith(".ctp-torch-")] == []


@pytest.mark.slow
def test_parts_side_by_side_make_the_same_tables(dump, tmp_path):
    """Two variants share the scan; three shards and a last call equal one run."""
    cases, _ = find_cases(dump)
    variants = {"csvd": QUICK, "ssvd": MapSettings(method="ssvd", registration="none", lesions=False)}
    run_cohort(cases, tmp_path / "whole", variants, report=False, engine=LocalEngine(1))
    for index in (1, 2, 3):
        run_cohort(cases, tmp_path / "parts", variants, report=False, shard=Shard(index, 3))
    assert (tmp_path / "parts/cohort.csv").read_bytes() == (tmp_path / "whole/cohort.csv").read_bytes()
    alone = tmp_path / "alone"
    run_cohort(cases[4:5], alone, variants["ssvd"], report=False)
    for name in ("cbf.nii.gz", "tmax.nii.gz"):
        (one,) = alone.glob(f"cases/*/*/{name}")
        assert one.read_bytes() == (tmp_path / "whole" / "cases" / cases[4].key / "ssvd" / name).read_bytes()


def test_variants_share_a_scan_only_where_it_is_made_alike():
    """Mutation seen red: denoising left out of what is compared."""
    from ctp_torch.cohorts.work import _prepared_alike

    assert _prepared_alike(QUICK, MapSettings(method="osvd", registration="none"))
    for other in (
        MapSettings(registration="none", denoise="low-rank"), MapSettings(registration="none", slab_mm=0.0),
        MapSettings(registration="none", aif="1,2,3"), MapSettings(registration="none", model="physics"),
    ):  # fmt: skip
        assert not _prepared_alike(QUICK, other)


@pytest.mark.slow
def test_a_killed_process_is_tried_again_then_told_and_others_go_on(tmp_path):
    """Mutations seen red: one attempt; the next task sent to the dead process."""
    dies = f"import os; open({str(tmp_path / 'deaths')!r}, 'a').write('x'); os.kill(os.getpid(), 9)"
    tasks = [Task(os.getpid), Task(partial(exec, dies)), Task(os.getpid), Task(os.getpid)]
    told = dict(LocalEngine(1).run(tasks))
    assert (tmp_path / "deaths").read_text() == "x" * ATTEMPTS
    assert told[1].exit_code == -9
    assert told[0] != told[2] == told[3]  # a process does what comes until it dies


def test_memory_is_shared_and_a_case_that_exceeds_it_runs_alone():
    """Mutation seen red: everybody let in."""
    budget, most, now = _Budget(10.0), [0.0], [0.0]
    lock = threading.Lock()

    def work(amount):
        with budget.of(amount):
            with lock:
                now[0] += min(amount, 10.0)
                most[0] = max(most[0], now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= min(amount, 10.0)

    crew = [threading.Thread(target=work, args=(amount,)) for amount in (3.0, 4.0, 50.0, 6.0, 5.0, 2.0)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    assert 0 < most[0] <= 10.0


@pytest.mark.slow
def test_a_stopped_engine_leaves_no_process():
    """Mutation seen red: processes left to finish their task."""
    begun = threading.Event()
    running = LocalEngine(2).run(
        [Task(os.getpid), Task(partial(time.sleep, 60)), Task(partial(time.sleep, 60))], lambda n: n and begun.set()
    )
    next(running)
    assert begun.wait(60)
    start = time.monotonic()
    running.close()
    assert time.monotonic() - start < 20
    assert not [one for one in multiprocessing.active_children() if one.is_alive()]


def test_compressed_scans_are_reckoned_unpacked(dump, tmp_path):
    """Mutation seen red: the size on the disk."""
    (nifti,) = find_cases(dump / "nifti")[0]
    assert unpacked_size(nifti.files) == 48 * 48 * 2 * 30 * 2
    (folder,) = find_cases(dump / "p0")[0]
    assert 48 * 48 * 2 * 60 <= unpacked_size(folder.files) < 2 * 48 * 48 * 2 * 60
    shutil.make_archive(str(tmp_path / "in" / "p0"), "zip", dump / "p0")
    (packed,) = find_cases(tmp_path / "in")[0]
    assert unpacked_size(packed.files) == pytest.approx(unpacked_size(folder.files), rel=0.1)


@pytest.mark.parametrize("shard", [(0, 3), (4, 3)])
def test_what_is_no_part_is_refused(shard):
    with pytest.raises(OptionError, match="i/n"):
        Shard(*shard)


def test_a_variant_that_names_no_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match="becomes a folder"):
        run_cohort([], tmp_path, {"../up": QUICK})
    assert json.dumps(run_cohort([], tmp_path, QUICK)) == "[]"


def test_without_ray_a_cohort_says_what_to_install(monkeypatch):
    from ctp_torch.pipeline.ray_engine import RayEngine

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CTPError, match=r"pip install .*ctp-torch\[ray\]"):
        RayEngine()
