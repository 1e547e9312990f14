"""Fill the missing cells of a file, for `inverseflow sample --impute`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverseflow.errors import DataError, OptionError
from inverseflow.training.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from inverseflow.training.run.description import Description

_FEW = 30  # effective candidates


def fill_in(run: Run, file: Path, draws: int, candidates: int, output: Path, seed: int, device: str) -> None:
    """Draw the missing cells of a table given the others, and write the table with them."""
    import numpy as np
    import torch

    from inverseflow import training
    from inverseflow.cli.loading import load_density
    from inverseflow.cli.tables import named, write_columns
    from inverseflow.data.incomplete import filled, incomplete_rows
    from inverseflow.data.looks import in_table_units
    from inverseflow.data.paths import printable
    from inverseflow.data.table import read_table
    from inverseflow.densities import impute
    from inverseflow.training.words import counted

    data, where = training.describe(run), printable(file.name)
    if not data.columns:
        raise OptionError(f"--impute is of columns of a table; {data.title} has none")
    table, _ = read_table(file)
    rows = torch.from_numpy(incomplete_rows(table, data.columns, data.categories, data.lattices, where))
    contexts = _contexts(data, table, where)
    density = load_density(run, device)
    like = next(density.parameters())
    generator = torch.Generator(like.device).manual_seed(seed)
    contexts = None if contexts is None else contexts.to(like)
    try:
        drawn = impute(density, rows.to(like), contexts, n=draws, candidates=candidates, generator=generator)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    missing = rows.isnan().repeat(draws, 1).numpy()
    values = in_table_units(drawn.x.cpu().flatten(0, 1), data.columns, data.lattices)
    columns: dict[str, Any] = {} if draws == 1 else {"draw": np.repeat(np.arange(draws), len(rows))}
    columns |= {name: np.tile(column, draws) for name, column in table.items()}
    for place, name in enumerate(data.columns):
        column = named(values[:, place].numpy(), data.categories.get(name))
        columns[name] = filled(columns.get(name), column, missing[:, place])
    write_columns(output, columns, values)

    some = rows.isnan().any(1)
    exact, effective = drawn.exact.cpu()[some], drawn.effective.cpu()[some & ~drawn.exact.cpu()]
    print(
        f"{counted(int(rows.isnan().sum()), 'missing cell')} of {where} filled, {counted(draws, 'draw')}, in {output}"
    )
    print(f"  {counted(int(exact.sum()), 'row')} drawn from the conditional density itself")
    if absent := [name for name in data.columns if name not in table]:
        print(f"  {', '.join(absent)} drawn in all rows: {where} has no such column")
    if len(effective):
        print(
            f"  {counted(len(effective), 'row')} by importance resampling of {candidates} candidates, which are worth "
            f"{effective.median():.0f} (median; at least {effective.min():.0f})"
        )
    if poor := int((effective < _FEW).sum()):
        print(
            f"inverseflow: {counted(poor, 'row')} had candidates worth less than {_FEW}, so that the draws are rough: "
            "take more --candidates",
            file=sys.stderr,
        )


def _contexts(data: Description, table: Any, where: str) -> Tensor | None:
    """Return the contexts of the rows, which must be complete."""
    from inverseflow.data import ColumnCondition
    from inverseflow.data.table import refuse_missing

    if data.condition is None:
        return None
    if not isinstance(data.condition, ColumnCondition):
        raise OptionError("--impute is of tables without labels; impute from Python: inverseflow.densities.impute")
    names = data.condition.columns
    if lacking := [name for name in names if name not in table]:
        raise DataError(f"{where} lacks the column {lacking[0]!r}, which is the context of the run: add it")
    refuse_missing({name: table[name] for name in names}, where)
    rows = zip(*(table[name].tolist() for name in names), strict=True)
    return data.condition.encode([dict(zip(names, row, strict=True)) for row in rows])
