"""How results are shown beside a comparison's table and picture: what moves it, Markdown, notebooks, a running model."""
