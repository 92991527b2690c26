"""Clips and numbered sequences as data: followed as in the service, with the time of each frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training import dataset
from streamfer.training.datasets.importing import Imported, import_sources
from streamfer.training.datasets.likeness import likeness
from streamfer.training.datasets.options import Options
from streamfer.types import CropSpec
from tests.clips import make_clip, moving_pattern
from tests.datasets import PORTRAITS, make, noise, shared, write_npz, write_pictures


def talking(frames: int, faces: int = 1, portrait: str = "astronaut.png") -> list[NDArray[np.uint8]]:
    """A portrait that wanders to the right, RGB; with two faces, its mirror image beside it at first."""
    image = cv2.cvtColor(cv2.imread(str(PORTRAITS / portrait)), cv2.COLOR_BGR2RGB)
    small = cv2.resize(image, (160, 160), interpolation=cv2.INTER_AREA)
    found = []
    for place in range(frames):
        frame = np.full((176, 400, 3), 90, np.uint8)
        frame[8:168, 10 + place : 170 + place] = small
        if faces == 2 and place < frames // 2:
            frame[8:168, 220:380] = small[:, ::-1]
        found.append(frame)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for name in ("happy/ada", "neutral/ada", "neutral/grace"):
        (root / name).mkdir(parents=True)
    make_clip(root / "happy/ada/one.mp4", frames=talking(12), size=(400, 176), fps=10)
    make_clip(root / "neutral/ada/two.mp4", frames=talking(10, faces=2), size=(400, 176), fps=20)
    make_clip(root / "neutral/grace/empty.mp4", frames=5)
    (root / "neutral/grace/broken.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def imported(folder: Path) -> Imported:
    return import_sources([folder], Options(ratios=(1.0, 0.0, 0.0)))


def test_a_clip_gives_the_frames_of_its_face(imported: Imported) -> None:
    data = imported.data
    assert data.images.shape[1:] == (48, 48, 1) and data.video is not None and data.seconds is not None
    assert np.bincount(data.video).tolist() == [12, 10], "the face that is there to the end"
    assert [data.label_names[label] for label in data.labels[[0, 12]]] == ["happy", "neutral"]
    np.testing.assert_allclose(data.seconds[:12], np.arange(12) / 10, atol=1e-3)
    np.testing.assert_allclose(np.diff(data.seconds[12:]), 1 / 20, atol=1e-3)
    assert data.subjects is not None and data.subjects.tolist() == ["ada"] * 22
    assert data.origins is not None and data.origins[0] == "happy/ada/one.mp4"


def test_the_crops_are_those_of_the_service(folder: Path, imported: Imported) -> None:
    """Frame by frame what detect would send to classify."""
    from streamfer.detectors import FaceOptions
    from streamfer.faces import FaceAnalyser
    from streamfer.plugins import Registry, build, spec_of

    registry = Registry.discover()
    detector, tracker = (
        build(spec_of(registry.get(kind, name), {}))
        for kind, name in (("detector", "yunet"), ("tracker", "sort"))
    )
    source = build(spec_of(registry.get("source", "file"), {"path": str(folder / "happy/ada/one.mp4")}))
    source.open()
    analyser = FaceAnalyser(detector, tracker, [CropSpec()], FaceOptions())
    crops = [
        analyser.analyse(frame.picture, seq=seq, seconds=frame.pts).crops[CropSpec()]
        for seq, frame in enumerate(source.frames())
    ]
    source.close()
    np.testing.assert_array_equal(np.concatenate(crops), imported.data.images[:12])


def test_what_gave_no_face_and_where_there_were_several_is_told(imported: Imported) -> None:
    told = {one.path: (one.reason, one.damaged) for one in imported.skipped}
    assert told["neutral/grace/empty.mp4"] == ("no face found", False)
    reason, damaged = told["neutral/grace/broken.mp4"]
    assert damaged and reason.startswith("not a video that FFmpeg can read")
    assert imported.crowded == ("neutral/ada/two.mp4",)


def test_neighbouring_frames_are_no_near_duplicates(imported: Imported) -> None:
    """By nature they are; what is looked for is what two clips have in common."""
    images, clips = imported.data.images[:12], imported.data.video
    assert clips is not None
    assert len(np.unique(likeness(images).alike)) < 12
    assert len(np.unique(likeness(images, clips=clips[:12]).alike)) == 12
    assert len(np.unique(likeness(images, clips=np.arange(12) % 2).alike)) < 12


def test_another_crop_and_the_file_that_is_written(folder: Path, tmp_path: Path) -> None:
    data = import_sources([folder], Options(crop=CropSpec(32, 40, 3), ratios=(1.0, 0.0, 0.0))).data
    assert data.images.shape[1:] == (32, 40, 3)
    dataset.save(data, tmp_path / "clips.npz")
    again = dataset.load(tmp_path / "clips.npz")
    assert again.seconds is not None and data.seconds is not None
    np.testing.assert_array_equal(again.seconds, data.seconds)
    assert again.sha256 == data.sha256
    assert replace(data, seconds=data.seconds * 2).sha256 != data.sha256, "time is part of what is trained on"


def test_a_folder_without_faces_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "clips/happy").mkdir(parents=True)
    make_clip(tmp_path / "clips/happy/pattern.mp4", frames=3)
    with pytest.raises(UsageError, match=r"no face in any clip \(of 1\).*pattern\.mp4: no face found"):
        import_sources([tmp_path / "clips"], Options())


def test_pictures_and_clips_are_kept_apart(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"happy/a.png": moving_pattern(0)})
    make_clip(tmp_path / "happy/b.mp4", frames=3)
    with pytest.raises(
        UsageError, match=r"pictures and clips in one folder, such as happy/a\.png and happy/b\.mp4"
    ):
        import_sources([tmp_path], Options())


def test_stills_and_clips_can_be_merged(folder: Path, tmp_path: Path) -> None:
    stills = write_npz(tmp_path / "stills.npz", make(noise(14), np.arange(14) % 7))
    data = import_sources([stills, folder], Options(ratios=(1.0, 0.0, 0.0))).data
    assert len(data) == 36 and data.video is not None and data.seconds is not None
    assert (data.video == -1).sum() == 14 and np.isnan(data.seconds[data.video == -1]).all()
    assert np.unique(data.video).tolist() == [-1, 0, 1]


def numbered(path: Path) -> Path:
    """Three sequences of three numbered frames, as CK+ has them."""
    names = [f"S{one:03d}_001_{10 + 5 * one + frame:08d}.png" for one in range(3) for frame in range(3)]
    data = make(noise(9), np.repeat([0, 3, 5], 3))
    np.savez(path, images=data.images, labels=data.labels, filename=np.array(names))
    return path


def test_numbered_frames_get_their_times_from_the_rate(tmp_path: Path) -> None:
    source = numbered(tmp_path / "ck.npz")
    plain = import_sources([source], Options(classes=("angry", "happy", "surprise"))).data
    timed = import_sources([source], Options(classes=("angry", "happy", "surprise"), fps=30)).data
    assert plain.seconds is None and plain.video is None
    assert timed.seconds is not None
    np.testing.assert_allclose(timed.seconds.reshape(3, 3), [[0, 1 / 30, 2 / 30]] * 3)
    assert plain.sha256 != timed.sha256 and timed.about["fps"] == 30


def test_a_rate_without_numbered_frames_is_refused(tmp_path: Path) -> None:
    stills = write_npz(tmp_path / "stills.npz", make(noise(14), np.arange(14) % 7))
    with pytest.raises(UsageError, match="--fps: no source has sequences of numbered frames"):
        import_sources([stills], Options(fps=30))


def test_a_file_whose_times_do_not_fit_is_refused(tmp_path: Path) -> None:
    data = make(noise(4), np.arange(4))
    for columns, complaint in (
        ({"seconds": np.zeros(4)}, "seconds without sequences"),
        (
            {"seconds": np.zeros(4), "sequences": np.array([0, 0, 0, -1], np.int32)},
            "expected a number for each",
        ),
    ):
        dataset.save(replace(data, **columns), tmp_path / "odd.npz")
        with pytest.raises(UsageError, match=complaint):
            dataset.load(tmp_path / "odd.npz")


def test_ckplus_is_three_frames_a_sequence_split_by_subject() -> None:
    options = Options(names={"contempt": "drop"}, fps=30)
    data = import_sources([shared("ckplus48.npz")], options).data
    assert "contempt" not in data.label_names and len(data) == 927
    assert data.video is not None and data.seconds is not None and data.subjects is not None
    assert set(np.bincount(data.video).tolist()) <= {0, 3} and data.seconds.max() <= 0.1
    for split in (0, 1, 2):
        others = set(data.subjects[data.split != split].tolist())
        assert not others & set(data.subjects[data.split == split].tolist())
