"""How results are shown beside a comparison's table and pictures: what moves it, Markdown, notebooks, a running model."""
