from inverseflow.training.metrics import CsvLogger, read_metrics


def test_rows_are_kept_when_a_run_is_resumed_up_to_the_step_it_resumes_from(tmp_path):
    path = tmp_path / "metrics.csv"
    first = CsvLogger(path)
    for step in (10, 20, 30):
        first.log_metrics({"train_bits_per_dim": step / 10}, step=step)
    resumed = CsvLogger(path, resumed_step=20)
    resumed.log_metrics({"val_bits_per_dim": 9.0}, step=30)

    assert read_metrics(path) == [
        {"step": 10, "train_bits_per_dim": 1.0},
        {"step": 20, "train_bits_per_dim": 2.0},
        {"step": 30, "val_bits_per_dim": 9.0},
    ]


def test_a_new_run_begins_with_no_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    CsvLogger(path).log_metrics({"learning_rate": 1.0}, step=1)
    CsvLogger(path)

    assert read_metrics(path) == []


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    CsvLogger(path).log_metrics({"ms_per_step": 5.0}, step=1)
    with path.open("a") as file:
        file.write("2,1.0,")

    assert read_metrics(path) == [{"step": 1, "ms_per_step": 5.0}]
