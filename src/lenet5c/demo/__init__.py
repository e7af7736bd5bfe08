"""A page, served to this machine alone: draw a digit, and see the net classify it.

`server` has the HTTP side, `session` what the page can call, `drawing`, `transform` and `answer`
the way from strokes to an answer, `samples` and `tuning` how it is taught.
"""
