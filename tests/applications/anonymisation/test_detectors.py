import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from applications.anonymisation.boxes import Box, overlap
from applications.anonymisation.detectors import DETECTORS, CenterFace, HaarCascade, Pedestrians, detector
from applications.anonymisation.mtcnn import Mtcnn
from applications.pictures import read_picture
from inverseflow.errors import DataError, OptionError

FACE = Box(180, 65, 270, 165)
"""Of the astronaut, by eye."""


@pytest.fixture(scope="module")
def astronaut():
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture
def folder(shared_data):
    return shared_data("faces").parent


@pytest.mark.parametrize("name", ["lbp", "haar", "centerface", "mtcnn"])
def test_the_face_of_the_astronaut_is_found(name, astronaut, folder):
    if name in ("haar", "centerface"):
        pytest.importorskip("cv2")
    found = detector(name, folder).detect(astronaut)
    assert max(overlap(box, FACE) for box in found) > 0.6
    assert all(box.kind == "face" and box.detector == name for box in found)


def test_a_small_picture_without_faces_has_none(folder):
    for name in ("lbp", "mtcnn"):
        assert detector(name, folder).detect(torch.full((3, 20, 30), 0.5)) == []


def test_a_face_is_found_where_it_moved(astronaut, folder):
    network = Mtcnn.read(folder / "faces")
    first = network.detect(astronaut[:, :256, 100:356])
    moved = network.detect(astronaut[:, :256, 92:348])
    assert (first[0] - moved[0])[:4].sub(torch.tensor([-8, 0, -8, 0])).abs().max() < 6
    assert first[0, 4] > 0.99


def test_centerface_sees_the_same_after_a_picture_of_another_size(folder, astronaut):
    pytest.importorskip("cv2")
    plate = read_picture(folder / "photos" / "licenseplate_motion.jpg")
    network = detector("centerface", folder)
    first = network.detect(plate)
    network.detect(astronaut)
    assert network.detect(plate) == first


def test_pedestrians_are_found_in_a_frame_of_the_video(shared_data):
    pytest.importorskip("cv2")
    frame = read_picture(sorted((shared_data("photos") / "vtest").glob("*.jpg"))[0])
    assert max(overlap(box, Box(235, 200, 299, 326)) for box in Pedestrians().detect(frame)) > 0.6


def test_missing_or_other_weights_are_refused(tmp_path, folder):
    with pytest.raises(OptionError, match=f"no detector 'eyes'; there are {', '.join(DETECTORS)}"):
        detector("eyes", None)
    with pytest.raises(DataError, match="there is no network .*mtcnn-pnet.safetensors"):
        Mtcnn.read(tmp_path)
    weights = load_file(folder / "faces" / "mtcnn-rnet.safetensors")
    save_file(weights, tmp_path / "mtcnn-pnet.safetensors")
    with pytest.raises(DataError, match="does not hold the weights of MTCNN's pnet"):
        Mtcnn.read(tmp_path)
    pytest.importorskip("cv2")
    with pytest.raises(DataError, match="there is no network"):
        CenterFace(tmp_path / "centerface.onnx")
    with pytest.raises(DataError, match="there is no cascade"):
        HaarCascade(tmp_path / "cascade.xml", "face", "haar")
