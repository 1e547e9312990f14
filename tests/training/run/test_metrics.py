import pytest

from inverseflow.errors import RunError
from inverseflow.training.run.folder import append_metrics, begin_metrics, read_metrics


def test_rows_are_kept_when_a_run_is_resumed_up_to_the_step_it_resumes_from(tmp_path):
    path = tmp_path / "metrics.csv"
    begin_metrics(path, 0)
    for step in (10, 20, 30):
        append_metrics(path, {"step": step, "train_bits_per_dim": step / 10})
    begin_metrics(path, 20)
    append_metrics(path, {"step": 30, "val_bits_per_dim": 9.0})

    assert read_metrics(path) == [
        {"step": 10, "train_bits_per_dim": 1.0},
        {"step": 20, "train_bits_per_dim": 2.0},
        {"step": 30, "val_bits_per_dim": 9.0},
    ]


def test_a_new_run_begins_with_no_rows_and_a_row_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("of another run")
    begin_metrics(path, 0)
    append_metrics(path, {"step": 1, "ms_per_step": 5.0})
    with path.open("a") as file:
        file.write("2,1.0,")

    assert read_metrics(path) == [{"step": 1, "ms_per_step": 5.0}]


@pytest.mark.parametrize("content", [b"step\nnonsense\n", b"\xff\xfe\n1\n", b"a,b\n1,2\n"])
def test_a_file_that_holds_something_else_is_called_damaged(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)

    with pytest.raises(RunError, match="is damaged"):
        read_metrics(path)
