"""Tables from run folders: reads result files, never training code."""
