"""What the chips run: models, phases, strategies, sweeps, and the command line. Imports all the packages below it."""
