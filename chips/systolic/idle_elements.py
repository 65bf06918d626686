"""Why so few elements of a systolic array are busy, in sentences with the numbers of the array at hand."""

from __future__ import annotations

from chips.systolic.array import SystolicArray

LONG_STREAM = 16  # times the array's longer side: what keeps nearly all elements busy


def why_idle(array: SystolicArray, m: int, k: int, n: int) -> str:
    """What keeps elements busy in a product (m, k) x (k, n), what leaves them idle, and what would fill them."""
    cycles, elements = array.cycles(m, k, n), array.rows * array.columns
    busy = m * k * n / (cycles * elements)
    streamed = {"weight": m, "input": n, "output": k}[array.dataflow]
    longer = LONG_STREAM * max(array.rows, array.columns)
    grown = {"weight": (longer, k, n), "input": (m, k, longer), "output": (m, longer, n)}[array.dataflow]
    filled = grown[0] * grown[1] * grown[2] / (array.cycles(*grown) * elements)
    what = {"weight": "row of a", "input": "column of b", "output": "step of k"}[array.dataflow]
    sentences = [
        f"Each {what} crosses the array as one diagonal wave and keeps every element busy for one clock; {streamed} of "
        f"them in a fold keep {busy:.1%} of the elements busy on average."
    ]
    if m == 1 and array.dataflow == "weight":
        sentences.append(
            f"A matrix-vector product has only one: every weight is brought in to be used once, the wave covers at "
            f"most {min(array.rows, array.columns)} of {elements} elements, and the way in and out takes the rest of "
            "the time."
        )
    elif m == 1:
        sentences.append("A matrix-vector product has one row of a, which leaves most rows or columns without work.")
    if busy < 0.5:
        sentences.append(f"With {longer} of them it would be {filled:.1%}.")
    return " ".join(sentences)
