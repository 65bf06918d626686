"""``loopline allreduce``: what is priced, what ranks carry out, and how both are shown."""
