"""Commands that ask: compare, scenarios, run, serve, sweep, plot, report, chips, models."""
