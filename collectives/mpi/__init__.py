"""The same schedules between real MPI ranks.

run.py          carries a schedule out, with real buffers and the simulated clock beside them
program.py      one rank's part of a schedule: what it sends, receives and adds
links.py        what measured links predict
calibrate.py    measures those links
wait.py         waiting that notices a rank that is gone
silent_rank.py  the error that names one
"""
