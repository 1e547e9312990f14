from pathlib import Path

import pytest

from inverseflow.data.split_names import SplitNames, split_word


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "trainA", "my_train", "train2017", "trainset")),
        *((name, "validation") for name in ("val", "Valid", "VALIDATION", "dev", "eval", "D_valid_HR", "Evaluation")),
        *((name, "test") for name in ("test", "Testing", "holdout", "3-test", "TestSet", "test images")),
        *((name, None) for name in ("trainer", "contest", "trainval", "values", "device", "evalue", "attest", "")),
    ],
)
def test_the_split_s_name_is_a_word_in_any_case(name, split):
    assert split_word(Path(name)) == split


def splits(*folders: str) -> dict[str, str]:
    return {folder.as_posix(): split for folder, split in SplitNames(map(Path, folders)).deciding().items()}


def test_folders_named_after_a_split_give_it():
    assert splits("Train", "TEST", "plane") == {"Train": "train", "TEST": "test"}


def test_names_with_a_word_count_in_pairs_only():
    assert splits("train_images", "test_images") == {"train_images": "train", "test_images": "test"}
    assert splits("train_images", "test_labels") == {}
    assert splits("a/train_images", "b/test_images") == {}
    assert splits("bullet train", "test tube") == {}


def test_on_a_path_the_first_folder_counts():
    names = SplitNames(map(Path, ("a/train", "a/train/test", "a/train/test/b")))
    assert names.of(Path("a/train/test/b")) == "train"
    assert splits("a/train", "a/train/test") == {"a/train": "train"}
