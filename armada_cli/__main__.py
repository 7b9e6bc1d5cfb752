"""`python -m armada_cli`, and `accelerate launch -m armada_cli`: the same as the command `armada`."""

from __future__ import annotations

from armada_cli.entry import main

if __name__ == "__main__":
    main()
