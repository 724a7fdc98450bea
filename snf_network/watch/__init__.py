"""The node repairs itself when the kernel reports a change: `events` listens, `keeper` decides and acts,
`pace` keeps it from fighting, `main` is the loop. Nothing waits for it, and the timers work without it.
"""
