import numpy as np
import pytest
import torch

from applications.incremental.__main__ import main
from applications.incremental.experiment import SIZES, accuracies, class_by_class, measure, pictures
from applications.pictures import write_png
from inverseflow.estimators import OvAClassifier


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("low", "up", "far")):
        np.save(tmp_path / f"{name}.npy", rng.normal(4 * number, 1, (60, 3)).astype(np.float32))
    return tmp_path


@pytest.fixture
def model(rows):
    folder = rows / "model"
    for name in ("low", "up"):
        assert main(["add", str(folder), name, str(rows / f"{name}.npy"), "--steps", "2"]) == 0
    return folder


def test_classes_are_added_one_after_the_other_and_named(model, rows, capsys):
    before = [(model / f"density_{number}" / "model.safetensors").read_bytes() for number in range(2)]
    capsys.readouterr()
    assert main(["add", str(model), "far", str(rows / "far.npy"), "--steps", "2"]) == 0
    assert capsys.readouterr().out.startswith("3 classes of 3 numbers, ")
    after = [(model / f"density_{number}" / "model.safetensors").read_bytes() for number in range(2)]
    assert before == after
    assert main(["classify", str(model), str(rows / "up.npy")]) == 0
    named = capsys.readouterr().out.split()
    assert len(named) == 60 and named.count("up") > 50
    assert main(["list", str(model)]) == 0
    assert capsys.readouterr().out.endswith(": low, up, far\n")


def test_a_folder_of_pictures_is_a_class(tmp_path, capsys):
    generator = torch.Generator().manual_seed(0)
    for name, level in (("dark", 0.2), ("bright", 0.7)):
        (tmp_path / name).mkdir()
        for number in range(12):
            picture = level + 0.2 * torch.rand(1, 4, 4, generator=generator)
            write_png(tmp_path / name / f"{number}.png", picture)
        assert main(["add", str(tmp_path / "model"), name, str(tmp_path / name), "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["classify", str(tmp_path / "model"), str(tmp_path / "bright")]) == 0
    assert capsys.readouterr().out.split() == ["bright"] * 12
    write_png(tmp_path / "dark" / "another.png", torch.zeros(1, 5, 4))
    assert main(["classify", str(tmp_path / "model"), str(tmp_path / "dark")]) == 2
    assert "holds pictures of 2 sizes, such as 4×4, 5×4: scale them to one" in capsys.readouterr().err


def test_bad_input_is_refused_in_one_sentence(model, rows, capsys):
    def said(*arguments):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    nan, one, narrow, text = (rows / name for name in ("nan.npy", "one.npy", "narrow.npy", "text.npy"))
    np.save(nan, np.full((5, 3), np.nan))
    np.save(one, np.ones((1, 3)))
    np.save(narrow, np.ones((5, 2)))
    text.write_text("1,2,3\n")
    assert "there is a class 'low' already: give another name" in said("add", model, "low", rows / "up.npy")
    assert f"{nan}: Input X contains NaN" in said("add", model, "new", nan)
    assert "1 sample(s)" in said("add", model, "new", one)
    assert "X has 2 features, but OvAClassifier is expecting 3" in said("classify", model, narrow)
    assert "is no .npy file of numbers" in said("add", model, "new", text)
    assert "there is no file or folder" in said("add", model, "new", rows / "absent.npy")
    assert "--steps must be at least 1" in said("add", model, "new", rows / "far.npy", "--steps", 0)
    assert "missing or damaged" in said("list", rows / "absent")
    assert OvAClassifier.load(model).classes_.tolist() == ["low", "up"]


def test_accuracy_after_each_class_is_over_the_classes_seen():
    data = pictures(SIZES["smoke"], None)
    order = np.array([3, 1, 0, 2, 4, 5, 6, 7, 8, 9])
    truth = (data.test_labels[:, None] == order).astype(np.float64)
    assert accuracies(truth, data, order) == [1.0] * 10
    always_the_first = np.zeros((len(data.test_labels), 10))
    seen = data.test_labels[np.isin(data.test_labels, [3, 1])]
    assert accuracies(always_the_first, data, order)[:2] == [1.0, (seen == 3).mean()]


def test_a_change_of_an_earlier_class_is_counted(monkeypatch):
    data = pictures(SIZES["smoke"], None)
    options = {"unit": "whole", "width": 8, "steps": 2, "fit_options": {"max_steps": 1, "progress": False}}
    assert class_by_class(OvAClassifier(**options), data, np.arange(3))["changed"] == 0

    def add_and_touch(self, name, X, add=OvAClassifier.add_class):
        add(self, name, X)
        for parameter in self.densities_[0].parameters():
            parameter.data += 1e-3
        return self

    monkeypatch.setattr(OvAClassifier, "add_class", add_and_touch)
    assert class_by_class(OvAClassifier(**options), data, np.arange(3))["changed"] > 100


def test_a_network_that_is_trained_class_after_class_forgets():
    (values,) = measure("softmax network, in turn", SIZES["smoke"], 0, None).values()
    assert len(values["accuracy"]) == 10 and values["accuracy"][-1] < 0.3
