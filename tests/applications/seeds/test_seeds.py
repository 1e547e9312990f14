import json
import re
from pathlib import Path

import pytest
import torch

from applications.pictures import write_png
from applications.seeds.__main__ import main
from applications.seeds.classifier import ViewsNet, cut_together
from applications.seeds.kernels import CLASSES, kernels
from applications.seeds.rebalancing import METHODS, Discriminator, judge_loss, rebalance
from applications.seeds.sets import IMBALANCE, Labeled, drawn_kernels, read_classes, split
from experiments.__main__ import main as experiments
from inverseflow.errors import OptionError


@pytest.fixture(scope="module")
def data():
    return drawn_kernels(3, 2, side=16)


def write_classes(folder, counts, side=16):
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for place in range(count):
            write_png(folder / name / f"{place}.png", torch.full((3, side, side), place / 10))


def test_kernels_are_seeded_and_differ_by_their_defects_alone():
    drawn = kernels(range(4), side=16, seed=1)
    assert torch.equal(drawn, kernels(range(4), side=16, seed=1))
    assert not torch.equal(drawn, kernels(range(4), side=16, seed=2))
    for seed in range(3):
        broken, discolored, pure, silkcut = (kernels([label], side=16, seed=seed)[0] for label in range(4))
        ground = pure.amax(1) < 0.3
        assert ((broken.amax(1) < 0.3).sum((1, 2)) > ground.sum((1, 2))).all()
        assert discolored.mean() < pure.mean() < silkcut.mean()
        assert torch.equal(silkcut.amax(1) < 0.3, ground)


def test_the_training_set_is_imbalanced_and_the_test_set_is_other_kernels(data):
    train, test = data
    assert train.counts == [3 * share for share in IMBALANCE] and test.counts == [2] * 4
    assert train.rare == [CLASSES.index("broken"), CLASSES.index("pure")]
    assert torch.cdist(test.pictures.flatten(1), train.pictures.flatten(1)).min() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_every_class_becomes_as_large_as_the_largest_and_real_objects_stay(method, data):
    train, _ = data
    more = rebalance(method, train, steps=3)
    assert torch.equal(more.pictures[: len(train)], train.pictures)
    assert more.counts == (train.counts if method == "none" else [24] * 4)
    assert more.pictures.min() >= 0 and more.pictures.max() <= 1
    assert torch.equal(more.pictures, rebalance(method, train, steps=3).pictures)
    real = {tuple(row) for row in train.pictures.flatten(1).tolist()}
    copied = [tuple(row) in real for row in more.pictures[len(train) :].flatten(1).tolist()]
    assert all(copied) if method == "oversampling" else not any(copied)


def test_a_cut_picture_has_shares_of_the_classes_as_large_as_the_areas():
    x = torch.arange(6.0).reshape(6, 1, 1, 1, 1).expand(6, 2, 1, 8, 8)
    mixed, shares = cut_together(x, torch.eye(6))
    for label, (picture, share) in enumerate(zip(mixed, shares, strict=True)):
        areas = torch.bincount(picture[0].flatten().long(), minlength=6) / 64
        torch.testing.assert_close(areas, share)
        assert torch.equal(picture[0], picture[1]) and share.sum() == 1 and share[label] > 0


def test_dropout_is_shared_by_all_objects_and_its_mean_is_near_the_scores():
    net = ViewsNet((1, 1, 8, 8), 3).eval()
    twice = torch.rand(1, 1, 1, 8, 8).expand(2, -1, -1, -1, -1)
    draws = net.draws(twice, 5)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0, 0], draws[0, 1])
    torch.testing.assert_close(draws.sum(2), torch.ones(2, 5))
    net.head[0].p = net.head[3].p = 0.0
    torch.testing.assert_close(net.draws(twice, 1)[:, 0], net(twice).softmax(1))


def test_the_discriminator_is_a_projection_on_the_class():
    judge, x = Discriminator(1, 3).eval(), torch.randn(3, 1, 16, 16)
    labels = torch.tensor([2, 0, 1])
    with torch.no_grad():
        features = judge.features(x).sum((2, 3))
        expected = judge.plain(features)[:, 0] + torch.einsum("bd,bd->b", judge.classes.weight[labels], features)
        torch.testing.assert_close(judge(x, labels), expected)


def test_what_is_judged_right_by_the_margin_has_no_gradient():
    real = torch.tensor([1.5, 0.5], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5], requires_grad=True)
    judge_loss(real, fake).backward()
    assert real.grad.tolist() == [0, -0.5] and fake.grad.tolist() == [0, 0.5]


def test_views_of_an_object_are_read_together_and_stay_together(tmp_path):
    for view in ("top", "bottom"):
        write_classes(tmp_path / view, {"a": 3, "b": 6})
    data = read_classes([tmp_path / "top", tmp_path / "bottom"], side=16)
    assert data.pictures.shape == (9, 2, 3, 16, 16) and data.names == ("a", "b") and data.counts == [3, 6]
    assert torch.equal(data.pictures[:, 0], data.pictures[:, 1])
    train, test = split(data, 0.3)
    assert train.counts == [2, 4] and test.counts == [1, 2]


def test_the_commands_draw_classify_and_suggest(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", "corn", "--count", "4", "--side", "16"]) == 0
    folders = ["corn/top", "corn/bottom"]
    small = ["--side", "16", "--steps", "2"]
    assert main(["classify", *folders, "-o", "seen.png", *small]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in CLASSES) and "recall" in out
    assert Path("seen.png").read_bytes().startswith(b"\x89PNG")
    pool = ["--pool", "corn/top/pure", "corn/bottom/pure"]
    assert main(["suggest", *folders, *pool, "--batch", "3", *small]) == 0
    chosen = capsys.readouterr().out.split()
    assert len(set(chosen)) == 3 and all((tmp_path / "corn/top/pure" / name).is_file() for name in chosen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "missing"], "there is no folder missing"),
        (["classify", "lonely"], "a holds 1 pictures: a class needs two, to train on and to test on"),
        (["classify", "single"], "single holds 1 folders of classes: it needs at least two"),
        (["classify", "good", "fewer"], "b/1.png is in only one of good and fewer"),
        (["classify", "good", "--side", "12", "--rebalance", "GAN"], "multiple of 8, got 12×12"),
        (["classify", "good", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["classify", "clothes", "--data-dir", "nowhere"], "nowhere"),
        (["suggest", "good", "--pool", "good/a", "good/b"], "--pool must name 1 folders"),
        (["suggest", "good", "good", "--pool", "good/a", "fewer/b"], "must hold pictures of the same names"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_classes(Path("good"), {"a": 2, "b": 3})
    write_classes(Path("fewer"), {"a": 2, "b": 2})
    (Path("fewer") / "b" / "1.png").rename(Path("fewer") / "b" / "2.png")
    write_classes(Path("lonely"), {"a": 1, "b": 2})
    write_classes(Path("single"), {"a": 2})
    out = ["-o", "seen.png"] if arguments[0] == "classify" else []
    assert main([*arguments, *out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not Path("seen.png").exists()


def test_an_unknown_method_is_refused():
    data = Labeled(torch.zeros(3, 1, 1, 8, 8), torch.tensor([0, 0, 1]), ("a", "b"))
    with pytest.raises(OptionError, match=f"no rebalancing 'VAE'; there are {', '.join(METHODS)}"):
        rebalance("VAE", data, steps=1)


@pytest.mark.slow
def test_a_classifier_learns_kernels():
    from applications.seeds.classifier import train_classifier

    train, test = drawn_kernels(8, 10)
    balanced = rebalance("oversampling", train, steps=1)
    found = train_classifier(balanced, steps=150).predict(test.pictures)
    assert (found == test.labels).float().mean() > 0.5


def test_the_experiment_runs(tmp_path):
    assert experiments(["seeds", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "seeds.json").read_text())["complete"]
    assert "nan" not in (tmp_path / "seeds.md").read_text()
