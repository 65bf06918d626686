"""Commands that a launcher of parallel jobs has started several times: one process answers, the others end."""

from __future__ import annotations

import sys
from typing import Any

from typer.core import TyperCommand

from scenarios.commands.several_values import spread


class Launched(TyperCommand):
    """A command; where each task of Slurm would run it whole, each says so."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, self.params))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from typer import rich_utils

        from scenarios.commands.folded_help import FoldedColumns, FoldedTable

        vars(rich_utils).update(Table=FoldedTable, Columns=FoldedColumns)
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        from cluster.launchers import rank_here, slurm_task

        task = slurm_task()
        if task is not None and rank_here() is None:
            print(
                f"note: this is task {task[0]} of the {task[1]} of Slurm, and each of them runs this whole command: "
                "srun started no MPI ranks.",
                file=sys.stderr,
            )
        return super().invoke(ctx)


class AnsweredOnce(Launched):
    """A command that takes no part in a world of MPI: of the processes of one ``mpiexec``, rank 0 runs it."""

    def invoke(self, ctx: Any) -> Any:
        from cluster.launchers import rank_here, ranks_told

        rank, told = rank_here(), ranks_told()
        if rank:
            return None
        if rank == 0 and told is not None and told > 1:
            print(
                f"note: {told} processes of this command were started; rank 0 runs it, the others end.", file=sys.stderr
            )
        return super().invoke(ctx)
