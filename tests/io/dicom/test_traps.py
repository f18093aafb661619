"""Every trap of real data reads to exactly the known grid, HU and times, or is refused in the stated words.

Each trap has been seen to catch a broken reader: the naive one everybody writes first, or, where that one happens to
survive, ours with one line broken (``BROKEN``).
"""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import naive_reader
from oracles.traps import TRAPS, Refuses
from oracles.traps.trap import check

from ctp_torch.io import read_series
from ctp_torch.io.dicom import candidates, grid, identifiers, index, pixels, places, read, select
from ctp_torch.io.dicom import times as moments


def _one_time_a_volume(patch):
    true = read._times
    patch.setattr(read, "_times", lambda *a: (true(*a)[0][:, :1].expand_as(true(*a)[0]), "AcquisitionTime"))


def _even_times(patch):
    true = read._times

    def even(*a):
        told, source = true(*a)
        return torch.linspace(0, float(told.max()), len(told)).double()[:, None].expand_as(told), source

    patch.setattr(read, "_times", even)


def _content_time_first(patch):
    patch.setattr(moments, "TIME_SOURCES", ("ContentTime", *moments.TIME_SOURCES))
    patch.setattr(moments, "_LATE", ())


def _strict_about_values(patch):
    patch.setattr(index.warnings, "simplefilter", lambda *_: None)


def _one_image_a_uid(patch):
    true = read.index_files
    patch.setattr(read, "index_files", lambda p: (list({h.uid: h for h in true(p)[0]}.values()), true(p)[1]))


def _series_stay_apart(patch):
    def apart(group):
        uids = sorted({image.series for image in group})
        return [([image for image in group if image.series == uid], ()) for uid in uids]

    patch.setattr(identifiers, "_series_of", apart)


def _never_derived(patch):
    true = read.ct_images
    patch.setattr(read, "ct_images", lambda headers, series: true(headers))


def _sorted_by_z(patch):
    patch.setattr(places, "along_normal", lambda image: image.position[2])


def _all_bits(patch):
    patch.setattr(pixels, "stored_values", lambda stored, layout: stored)


def _little_endian(patch):
    true = pixels._native
    patch.setattr(pixels, "_native", lambda layout: true(replace(layout, transfer_syntax="1.2.840.10008.1.2.1")))


def _pixels_where_the_stream_stands(patch):
    patch.setattr(index, "_pixel_data", lambda stream, dataset: (stream.tell(), 84))


def _any_order_is_a_clock(patch):
    true = read.choose_clock
    patch.setattr(read, "choose_clock", lambda slices, order_only: true(slices, order_only=True))


def _every_image_a_cell(patch):
    patch.setattr(grid, "_cells_of_slice", lambda images, clock: [[i] for i in sorted(images, key=clock.read)])


def _frames_by_counting(patch):
    patch.setattr(grid, "_match", lambda rows, clock: [list(range(len(images))) for images in rows])


def _one_grid_for_all(patch):
    patch.setattr(candidates, "grids", lambda images: [list(images)])
    patch.setattr(candidates, "measurements", lambda images: [list(images)])
    patch.setattr(candidates, "put_together", lambda images, join: [(list(images), ())])


def _no_slabs(patch):
    patch.setattr(candidates, "slabs", lambda slices: [slices])


def _anything_is_a_source_image(patch):
    patch.setattr(select, "_reason_against", lambda image, asked: "")


def _short_pixels_filled(patch):
    def filled(layout):
        stored = np.fromfile(layout.path, "<u2", offset=layout.offset)[: layout.rows * layout.columns]
        return np.resize(stored, (layout.rows, layout.columns))

    patch.setattr(pixels, "_native", filled)
    patch.setattr(index, "wrong_amount", lambda pixels, stream: None)


BROKEN = {
    "content_time_backwards_and_alone": lambda patch: patch.setattr(moments, "_runs_with_numbers", lambda *_: True),
    "no_times": _any_order_is_a_clock,
    "whole_seconds_twice_a_second": _every_image_a_cell,
    "doubled_cell": _every_image_a_cell,
    "missing_cell": _frames_by_counting,
    "missing_cells_everywhere": _frames_by_counting,
    "missing_first_cell": _frames_by_counting,
    "missing_cell_of_a_shuttle": _frames_by_counting,
    "two_kernels_in_one_series": _one_grid_for_all,
    "voltage_changes": _one_grid_for_all,
    "two_patients": _one_grid_for_all,
    "slabs_with_a_gap": _no_slabs,
    "whole_slice_lost": _no_slabs,
    "only_derived": _anything_is_a_source_image,
    "enhanced_map": _anything_is_a_source_image,
    "no_ct": _anything_is_a_source_image,
    "one_image_truncated": _short_pixels_filled,
    "enhanced_truncated": _short_pixels_filled,
    "shuttle_times": _one_time_a_volume,
    "uneven_frames": _even_times,
    "content_time_of_a_slow_reconstruction": _content_time_first,
    "two_slabs_side_by_side": _one_time_a_volume,
    "philips_jog": _one_time_a_volume,
    "siemens_spiral_shuttle": _one_time_a_volume,
    "two_slabs_as_two_series": _series_stay_apart,
    "series_for_every_time": _series_stay_apart,
    "one_uid_for_all": _one_image_a_uid,
    "derived_on_request": _never_derived,
    "feet_first": _sorted_by_z,
    "foreign_letters": _strict_about_values,
    "overlay_bits": _all_bits,
    "big_endian": _little_endian,
    "deflated": _pixels_where_the_stream_stands,
}


def passes(expected, path, read):
    """Whether a reader does what is expected of this trap."""
    try:
        series = read(path)
    except Exception as error:  # noqa: BLE001 - a broken reader may stumble over anything
        wanted = isinstance(expected, Refuses) and isinstance(error, expected.error)
        return wanted and re.search(expected.match, str(error), re.DOTALL) is not None
    if isinstance(expected, Refuses):
        return False
    try:
        check(expected, series)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", TRAPS)
def test_trap(name, tmp_path, monkeypatch):
    expected = TRAPS[name](tmp_path / "data")
    path = expected.path or tmp_path / "data"
    if isinstance(expected, Refuses):
        with pytest.raises(expected.error, match=re.compile(expected.match, re.DOTALL)) as caught:
            read_series(path, **expected.options)
        assert "SECRET" not in str(caught.value).upper()
    else:
        series = read_series(path, **expected.options)
        check(expected, series)
        notes = json.dumps(series.provenance.as_dict())
        assert expected.says in notes
        assert expected.source in ("", series.provenance.time_source)
        assert "SECRET" not in notes.upper()
    if name in BROKEN:
        BROKEN[name](monkeypatch)
        assert not passes(expected, path, lambda place: read_series(place, **expected.options))
    else:
        assert not passes(expected, path, naive_reader.read)


def test_enough_traps():
    assert len(TRAPS) >= 30
    assert set(BROKEN) <= set(TRAPS)
