"""What is written about results stays true: the schema's table, and a notebook that runs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from frame_rows import record, unfit
from nbclient import NotebookClient

import loopline as ll
from results.schema import COLUMNS, frame
from results.views.markdown import markdown_table

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "results.md"


def schema_table():
    rows = [
        {
            "column": f"`{name}`",
            "type": column.dtype,
            "unit": column.unit,
            "meaning": column.meaning,
            "values": ", ".join(column.categories),
        }
        for name, column in COLUMNS.items()
    ]
    return markdown_table(rows)


def test_the_document_has_the_schema_of_the_code():
    written = re.search(r"<!-- schema -->\n(.*?)\n<!-- end of schema -->", DOCUMENT.read_text(), re.DOTALL)
    assert written is not None
    assert written.group(1).strip() == schema_table(), f"the table should be:\n{schema_table()}"


def test_every_picture_of_the_document_is_there():
    for name in re.findall(r"\]\((pictures/[^)]+|tour.ipynb)\)", DOCUMENT.read_text()):
        assert (DOCUMENT.parent / name).is_file()


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_goes_from_a_question_to_a_picture_in_ten_cells():
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    assert len(notebook.cells) == 10
    assert "?" in notebook.cells[0].source
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [set(cell.outputs[-1]["data"]) for cell in notebook.cells if cell.cell_type == "code"]
    assert "image/svg+xml" in shown[-1]
    assert all({"text/html", "image/svg+xml"} & kinds for kinds in shown)


def test_a_frame_shown_in_a_notebook_has_its_numbers_and_says_what_all_rows_share():
    html = ll.show(frame([record(), unfit(count=16)])).to_html()
    assert "model m, phase decode" in html
    assert html.count("does not fit") == 10
    assert "19%" in html
    assert "linear-gradient" in html
