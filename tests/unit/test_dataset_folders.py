"""Reading folders: layouts, names, clutter; faces that are cropped already, and photos."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.dataset import SPLITS, Dataset
from streamfer.training.datasets import load
from streamfer.training.datasets.importing import Imported, import_sources
from streamfer.training.datasets.options import Options
from streamfer.types import LABELS, CropSpec
from tests.datasets import PORTRAITS, noise, write_pictures


def faces(names: list[str], side: int = 48) -> dict[str, NDArray[np.uint8]]:
    return dict(zip(names, noise(len(names), side=side), strict=True))


def origins(data: Dataset) -> list[str]:
    assert data.origins is not None
    return [str(one) for one in data.origins]


def labels(data: Dataset) -> list[str]:
    return [data.label_names[label] for label in data.labels]


def splits(data: Dataset) -> list[str]:
    return [SPLITS[split] for split in data.split]


def whole(path: Path, **options: object) -> Imported:
    """Imported into one split, so that no class can be absent from Training."""
    return import_sources([path], Options(split="stratified", ratios=(0, 0, 1), **options))  # type: ignore[arg-type]


# ---- layouts -----------------------------------------------------------------------------------------------


def test_classes_by_their_names_in_the_literature(tmp_path: Path) -> None:
    names = ["Anger", "disgusted", "AFRAID", "happiness", "sedih", "SU", "Neutral", "contempt"]
    data = whole(write_pictures(tmp_path, faces([f"{name}/1.png" for name in names]))).data
    assert data.label_names == (*LABELS, "contempt")
    ours = dict(zip([one.partition("/")[0] for one in origins(data)], labels(data), strict=True))
    assert [ours[name] for name in names] == [*LABELS, "contempt"]


def test_pixels_of_cropped_faces_are_taken_as_they_are(tmp_path: Path) -> None:
    pictures = faces(["happy/1.png", "happy/2.PNG", "sad/1.bmp"])
    data = whole(write_pictures(tmp_path, pictures)).data
    assert origins(data) == ["happy/1.png", "happy/2.PNG", "sad/1.bmp"]
    assert np.array_equal(data.images[:, :, :, 0], np.stack(list(pictures.values())))


def test_faces_of_another_size_stay_so_and_colour_files_of_gray_faces_are_gray(tmp_path: Path) -> None:
    gray = noise(1, side=64)[0]
    write_pictures(tmp_path, {"happy/1.png": cv2.merge([gray, gray, gray]), "sad/1.png": noise(1, 1, 64)[0]})
    data = whole(tmp_path).data
    assert data.images.shape == (2, 64, 64, 1) and np.array_equal(data.images[0, :, :, 0], gray)


def test_train_and_test_become_three_splits(tmp_path: Path) -> None:
    names = [f"train/{label}/{n}.png" for label in ("happy", "sad") for n in range(20)]
    names += [f"test/{label}/{n}.png" for label in ("happy", "sad") for n in range(3)]
    write_pictures(tmp_path, faces(names))
    data = load(tmp_path)
    assert len(data.rows("PrivateTest")) == 6
    assert all(origins(data)[row].startswith("test/") for row in data.rows("PrivateTest"))
    for label in (0, 1):
        counts = np.bincount(data.split[data.labels == label], minlength=3)
        assert counts.tolist() == [18, 2, 3]
    assert [note for note in data.about["notes"] if "10% of Training" in note]
    assert np.array_equal(load(tmp_path).split, data.split)


def test_three_split_folders_are_kept(tmp_path: Path) -> None:
    write_pictures(
        tmp_path / "archive",  # the folder that everything lies in
        faces(["Training/happy/1.png", "Validation/happy/1.png", "test/happy/1.png"]),
    )
    data = load(tmp_path)
    assert sorted(zip(origins(data), splits(data), strict=True)) == [
        ("Training/happy/1.png", "Training"),
        ("Validation/happy/1.png", "PublicTest"),
        ("test/happy/1.png", "PrivateTest"),
    ]


def test_ck_plus_folders_tell_subject_sequence_and_frame(tmp_path: Path) -> None:
    names = [
        "anger/S010_004_00000017.png",
        "anger/S010_004_00000018.png",
        "happy/S011_004_00000020.png",
        "happy/S010_006_00000014.png",
    ]
    write_pictures(tmp_path / "CK+48", faces(names))
    data = whole(tmp_path).data
    facts = {
        name: (subject, frame)
        for name, subject, frame in zip(origins(data), data.subjects, data.frames, strict=True)  # type: ignore[arg-type]
    }
    assert facts[names[1]] == ("S010", 18) and facts[names[2]] == ("S011", 20)
    sequence = dict(zip(origins(data), data.sequences.tolist(), strict=True))  # type: ignore[union-attr]
    assert sequence[names[0]] == sequence[names[1]]
    assert len({sequence[name] for name in names[1:]}) == 3  # one clip number, two subjects


def test_jaffe_files_tell_subject_and_expression(tmp_path: Path) -> None:
    data = whole(write_pictures(tmp_path, faces(["KA.AN1.39.tiff", "KA.HA2.30.tiff", "YM.NE1.49.tiff"]))).data
    assert labels(data) == ["angry", "happy", "neutral"]
    assert data.subjects is not None and data.subjects.tolist() == ["KA", "KA", "YM"]


def test_a_folder_between_class_and_picture_is_the_subject(tmp_path: Path) -> None:
    data = whole(
        write_pictures(tmp_path, faces(["happy/anna/1.png", "sad/anna/2.png", "sad/ben/1.png"]))
    ).data
    assert data.subjects is not None and data.subjects.tolist() == ["anna", "anna", "ben"]


def test_clutter_is_passed_over_and_links_are_followed(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "faces", faces(["happy/1.png", "sad/1.png"]))
    for name in (".DS_Store", "happy/.DS_Store", "happy/Thumbs.db", "sad/desktop.ini", "README.md"):
        (folder / name).write_bytes(b"clutter")
    elsewhere = write_pictures(tmp_path / "else", {"2.png": noise(1, 5)[0], "3.png": noise(1, 6)[0]})
    (folder / "happy" / "link.png").symlink_to(elsewhere / "2.png")
    (folder / "sad" / "more").symlink_to(elsewhere)
    (folder / "sad" / "loop").symlink_to(folder / "sad")
    done = whole(folder)
    assert origins(done.data) == [
        "happy/1.png",
        "happy/link.png",
        "sad/1.png",
        "sad/more/2.png",
        "sad/more/3.png",
    ]
    assert done.skipped == ()


def test_what_is_no_picture_is_listed_and_refused_when_strict(tmp_path: Path) -> None:
    write_pictures(tmp_path, faces(["happy/1.png", "sad/1.png"]))
    (tmp_path / "happy" / "notes.txt").write_text("no picture")
    (tmp_path / "happy" / "cut.png").write_bytes((tmp_path / "happy" / "1.png").read_bytes()[:900])
    (tmp_path / "sad" / "empty.jpg").touch()
    (tmp_path / "sad" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    write_pictures(tmp_path, {"stray.png": noise(1)[0]})
    done = whole(tmp_path)
    assert len(done.data) == 2
    assert [(one.path, one.reason) for one in done.skipped] == [
        ("stray.png", "lies in no class folder"),
        ("happy/cut.png", "not a picture that can be read"),
        ("happy/notes.txt", "not a picture that can be read"),
        ("sad/empty.jpg", "empty file"),
        ("sad/gone.png", "No such file or directory"),
    ]
    assert ["sad/empty.jpg", "empty file"] in done.data.about["skipped"]
    with pytest.raises(
        UsageError, match=r"happy/cut\.png: not a picture that can be read; 4 such files in all"
    ):
        whole(tmp_path, strict=True)


# ---- photos ------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two portraits, one of them twice in one photo, and a photo of nobody."""
    folder = tmp_path / "photos"
    for name in ("happy", "neutral"):
        (folder / name).mkdir(parents=True)
    shutil.copy(PORTRAITS / "astronaut.png", folder / "happy" / "astronaut.png")
    shutil.copy(PORTRAITS / "grace_hopper.jpg", folder / "neutral" / "hopper.JPG")
    portrait = cv2.imread(str(PORTRAITS / "astronaut.png"))
    write_pictures(
        folder, {"happy/two.jpg": np.hstack([portrait, portrait]), "neutral/wall.jpg": noise(1, 0, 400)[0]}
    )
    return folder


def served(path: Path, spec: CropSpec) -> NDArray[np.uint8]:
    """The crop of the best face as the service cuts it for `streamfer predict`."""
    from streamfer.detectors import FaceOptions
    from streamfer.faces import FaceAnalyser
    from streamfer.picture import from_bgr
    from streamfer.plugins import Registry, build, spec_of

    pixels = np.asarray(cv2.imread(str(path)), np.uint8)
    detector = build(spec_of(Registry.discover().get("detector", "yunet"), {}))
    width = max(320, min(pixels.shape[1], 640))
    analyser = FaceAnalyser(detector, None, [spec], FaceOptions(), width=width)
    crop: NDArray[np.uint8] = analyser.analyse(from_bgr(pixels), seq=0, seconds=0.0).crops[spec][0]
    return crop


def test_photos_are_cropped_as_they_are_served(photos: Path) -> None:
    done = whole(photos)
    assert origins(done.data) == ["happy/astronaut.png", "happy/two.jpg", "neutral/hopper.JPG"]
    assert done.data.images.shape == (3, 48, 48, 1)
    spec = CropSpec(48, 48, 1)
    assert np.array_equal(done.data.images[0], served(photos / "happy" / "astronaut.png", spec))
    assert np.array_equal(done.data.images[2], served(photos / "neutral" / "hopper.JPG", spec))
    assert [(one.path, one.reason) for one in done.skipped] == [("neutral/wall.jpg", "no face found")]
    assert done.crowded == ("happy/two.jpg",)
    assert done.data.about["several_faces"] == ["happy/two.jpg"]


def test_photos_are_cropped_to_another_size_in_rgb(photos: Path) -> None:
    spec = CropSpec(96, 64, 3)
    data = whole(photos, crop=spec).data
    assert data.images.shape == (3, 96, 64, 3)
    assert np.array_equal(data.images[0], served(photos / "happy" / "astronaut.png", spec))
    assert data.images[0, :, :, 0].mean() > data.images[0, :, :, 2].mean() + 10  # red first: skin


def test_haar_finds_them_too(photos: Path) -> None:
    ours, theirs = whole(photos).data, whole(photos, detector="haar").data
    assert origins(theirs)[0] == "happy/astronaut.png"
    assert not np.array_equal(ours.images[0], theirs.images[0])
    assert np.corrcoef(ours.images[0].ravel(), theirs.images[0].ravel())[0, 1] > 0.5
    with pytest.raises(UsageError, match="no detector 'hog'; there are: haar, yunet"):
        whole(photos, detector="hog")


def test_a_photo_is_turned_upright_by_its_exif_data(tmp_path: Path) -> None:
    portrait = np.asarray(cv2.imread(str(PORTRAITS / "astronaut.png")), np.uint8)
    jpeg = cv2.imencode(".jpg", np.rot90(portrait))[1].tobytes()  # lies on its left side
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(orientation) + 2).to_bytes(2) + orientation
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "phone.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    data = whole(tmp_path).data
    upright = served(PORTRAITS / "astronaut.png", CropSpec(48, 48, 1))
    assert np.corrcoef(data.images[0].ravel(), upright.ravel())[0, 1] > 0.98


def test_among_photos_only_faces_of_the_crops_size_are_taken_as_they_are(photos: Path) -> None:
    face, small = noise(2)
    write_pictures(photos, {"happy/face.png": face, "happy/small.png": small[:40, :40]})
    done = whole(photos)
    row = origins(done.data).index("happy/face.png")
    assert np.array_equal(done.data.images[row, :, :, 0], face)
    assert ("happy/small.png", "no face found") in [(one.path, one.reason) for one in done.skipped]


def test_a_face_that_would_not_be_classified_is_no_example(tmp_path: Path) -> None:
    portrait = np.asarray(cv2.imread(str(PORTRAITS / "astronaut.png")), np.uint8)
    small = np.asarray(cv2.resize(portrait, None, fx=0.17, fy=0.17, interpolation=cv2.INTER_AREA), np.uint8)
    write_pictures(tmp_path, {"happy/large.png": portrait, "happy/small.png": small})
    done = whole(tmp_path)
    assert [(one.path, one.reason) for one in done.skipped] == [("happy/small.png", "its face is too small")]


# ---- one clear line ----------------------------------------------------------------------------------------


def test_bad_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "happy").mkdir(parents=True)
    write_pictures(tmp_path / "loose", faces(["1.png"]))
    write_pictures(tmp_path / "unknown", faces(["happy/1.png", "bliss/1.png"]))
    write_pictures(tmp_path / "nobody", {"happy/1.jpg": noise(1, 0, 300)[0]})
    lacking = [f"train/{label}/{n}.png" for label in ("happy", "sad") for n in range(9)]
    write_pictures(tmp_path / "lacking", faces(lacking))
    (tmp_path / "lacking" / "train" / "fear").mkdir()
    for name, complaint in (
        ("absent", "no such file or folder"),
        ("empty", "no pictures or clips; expected folders of classes such as happy/, or train/happy/"),
        ("hollow", "no pictures"),
        ("loose", "loose/1.png: lies in no class folder and its name does not tell the expression"),
        (
            "unknown",
            "unknown/bliss: no expression is known as 'bliss'; import the data with --map 'bliss=happy'",
        ),
        ("nobody", "no face in any picture (of 1); the first: happy/1.jpg: no face found"),
        (
            "lacking",
            "no Training row of the class fear; add some, or import the data without it: --classes happy,sad",
        ),
    ):
        with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
            load(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_crop_that_cropped_faces_do_not_have_is_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path, faces(["happy/1.png"]))
    with pytest.raises(
        UsageError, match=r"--crop 64x64x1: the pictures are faces of 48×48 gray pixels already"
    ):
        whole(tmp_path, crop=CropSpec(64, 64, 1))
    assert len(whole(tmp_path, crop=CropSpec(48, 48, 1)).data) == 1


def test_a_folder_can_be_mapped_or_left_out(tmp_path: Path) -> None:
    write_pictures(tmp_path, faces(["happy/1.png", "joy/2.png", "other/3.png"]))
    data = whole(tmp_path, names={"JOY": "happy", "other": "drop"}).data
    assert origins(data) == ["happy/1.png", "joy/2.png"] and data.label_names == ("happy",)
