"""A local page on which to draw a digit and see the net classify it.

`server` has the HTTP side, `session` what the page can call, `drawing`, `transform` and `answer`
the way from strokes to an answer, `samples` and `tuning` how it is taught.
"""
