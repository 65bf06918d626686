"""The simulator held against reality: measured tables, published runs, errors, bands, fits (tables in ``data/``)."""
