import re
import subprocess
import sys

import torch

from inverseflow.cli import speed
from inverseflow.ops import backend


def test_the_table_names_the_backend_and_gives_ratios_of_the_times_beside_them():
    with backend("blocked"):
        table = speed.speed_table(torch.device("cpu"), shapes=((2, 3, 8),), budget_ms=5)
    row = next(line for line in table.splitlines() if "2×3×8×8" in line).split()
    assert row[1] == "blocked"
    numbers = [float(word) for word in row[2:]]
    assert len(numbers) == 6 and all(number > 0 for number in numbers[2::3])
    mean = re.search(r"takes (\d+\.\d\d) times as long as conv2d, (\d+\.\d\d) times with gradient", table)
    assert [float(number) for number in mean.groups()] == numbers[2::3]


def test_doctor_prints_it_where_the_extras_are_missing():
    code = "import sys; sys.modules |= dict.fromkeys(['jsonargparse', 'yaml', 'lightning', 'matplotlib'])\n"
    code += "from inverseflow.cli import main, speed\n"
    code += "speed.speed_table = lambda device: f'speed on {device}'\n"
    code += "sys.exit(main.main(['doctor', '--speed']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("speed on cpu\n") or "speed on cuda" in done.stdout
