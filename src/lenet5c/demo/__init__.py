"""A page, served to this machine alone: draw a digit, and watch the net read it.

`server` has the HTTP side, `session` what the page can ask for, `drawing`, `transform` and `answer` the way from strokes
to an answer, `samples` and `tuning` how it is taught.
"""
