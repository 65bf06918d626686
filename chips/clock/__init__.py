"""The clock: a max-plus recurrence in integer picoseconds, and the only place where time advances.

time.py           a time that explains itself; seconds rounded once to picoseconds
timeline.py       engines, tasks, buffers, barriers, loops
periodic_loop.py  loops that leap, exactly, once their state is seen to repeat
lane_loop.py      the same where every lane runs its own number of iterations
recording.py      programs recorded, and run side by side where they wait in the same way
"""
