"""Tables from run folders: reads result files, never training code."""

FORMATS = ("rich", "txt", "md", "json", "csv", "latex")
"""``rich`` is ``txt`` with colours, on a terminal."""
