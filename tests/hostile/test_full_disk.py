"""A disk that is full, or a limit on files: one message, nothing half-written under a final name, nothing left."""

import os
import subprocess

import pytest

LIMITS = {  # what is written, and a size that its largest file passes
    "maps": 30_000, "maps of one file": 200_000, "convert": 30_000, "convert packed": 30_000, "train": 30_000,
    "evaluate": 30_000, "lesion": 3_000,
}  # fmt: skip


def command(name, world, home):
    return {
        "maps": ("maps", world.scan, "-o", home / "out", "--formats", "all", "--registration", "none"),
        "maps of one file": ("maps", world.scan, "-o", home / "out", "--registration", "none"),
        "convert": ("convert", world.scan, "-o", home / "ctp.nii"),
        "convert packed": ("convert", world.scan, "-o", home / "ctp.nii.gz"),
        "train": ("train", world.cohort, "-o", home / "m.safetensors", "--model", "rf", "--trees", 2, "--samples", 300,
                  "--registration", "none", "--keep-all"),
        "evaluate": ("evaluate", world.cohort, "--model", world.model, "-o", home / "out"),
        "lesion": ("lesion", world.maps, "-o", home / "out"),
    }[name]  # fmt: skip


@pytest.fixture(scope="module")
def told(forks, world, tmp_path_factory):
    """The world, with maps in it."""
    world.maps = tmp_path_factory.mktemp("maps") / "out"
    made = forks.run("maps", world.scan, "-o", world.maps, "--registration", "none", "--no-report")
    assert made.code == 0, made.err
    return world


def refused(done, home, forks):
    assert done.code == 6, done
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert "make room, or" in done.err
    assert not list(home.iterdir())
    assert not list(forks.temporary.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_on_files_ends_in_one_message(forks, told, tmp_path, name):
    """Seen red before: convert ended with 0 and 19,648 of its bytes; train and evaluate in a traceback.

    Mutation seen red: the size of what SimpleITK wrote not looked at.
    """
    done = forks.run(*command(name, told, tmp_path), file_limit=LIMITS[name])
    refused(done, tmp_path, forks)
    done = forks.run(*command(name, told, tmp_path))
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_there(forks, told, tmp_path):
    """On a file system of 700 kB; an earlier result and the user's files are as before. Needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        done = forks.run("evaluate", told.cohort, "--model", told.model, "-o", disk / "out")
        refused(done, disk, forks)
        done = forks.run("lesion", told.maps, "-o", disk / "out")
        assert done.code == 0, done.err
        (disk / "mine.bin").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 20_000))
        before = {p.relative_to(disk): p.read_bytes() for p in disk.rglob("*") if p.is_file()}
        done = forks.run("lesion", told.maps, "-o", disk / "out", "--tmax", 4, "--force")
        assert (done.code, "make room" in done.err) == (6, True), done
        assert {p.relative_to(disk): p.read_bytes() for p in disk.rglob("*") if p.is_file()} == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)
