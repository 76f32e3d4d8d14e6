"""Write the golden files anew, to be read before they are kept.

python tests/capacity/golden/write.py
"""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path

from servingclient import cli

HERE = Path(__file__).parent


def main() -> None:
    commands = runpy.run_path(str(HERE.parent / "test_report.py"))["COMMANDS"]
    for name, arguments in commands.items():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            cli.main(["plan", *arguments.split()])
        (HERE / name).write_text(printed.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
