"""Results beside a comparison's table and picture: what moves an answer, Markdown, notebooks, a running model."""
