"""A local web page on which to draw a digit and see the net classify it.

`server` implements HTTP, `session` the methods called by the page, `samples` and `tuning` the
fine-tuning on drawings.
"""
