"""Tables from run folders: reads result files, never training code."""

FORMATS = ("rich", "txt", "md", "json", "csv", "latex", "html")
"""``rich`` is ``txt`` with colours, on a terminal."""
