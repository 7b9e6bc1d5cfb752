"""`armada new`: a plugin's project, whole and working, from templates that read like the files they become."""

from __future__ import annotations

from armada_cli.scaffold.names import Names, check_name
from armada_cli.scaffold.project import render, write_project

__all__ = ["Names", "check_name", "render", "write_project"]
