"""How results are shown where neither a table on a terminal nor a picture is: Markdown, notebooks, a running model."""
