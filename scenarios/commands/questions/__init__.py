"""Commands that ask: compare, run, plan, scaling-law, serve, sweep, plot, report, boundary, efficiency, catalogs."""
