"""Writes the tables of settings into the pages that have them, as the settings are now: README and operations.

.venv/bin/python scripts/tables.py            writes them
.venv/bin/python scripts/tables.py --check    only says whether they are as they should be
"""

from __future__ import annotations

import sys
from pathlib import Path

from charrnn.config import Settings, table
from charrnn_server.app import CharRNNServer

ROOT = Path(__file__).parent.parent
OURS = set(Settings.model_fields) | {"public"}  # which the other table has, or the text


def traits() -> str:
    """The traits of the server that are no settings, as a table in Markdown."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for name, trait in sorted(CharRNNServer.class_own_traits(config=True).items()):
        if name not in OURS:
            rows.append(f"| `--CharRNNServer.{name}` | `{trait.default_value!r}` | {' '.join(trait.help.split())} |")
    return "\n".join(rows) + "\n"


def written(page: str, mark: str, rows: str) -> str:
    """The page with the table between its two marks."""
    before, _, after = page.split(f"<!-- {mark} -->")
    return f"{before}<!-- {mark} -->\n\n{rows}\n<!-- {mark} -->{after}"


def main() -> None:
    wrong = []
    for name, marks in (("README.md", ["configuration"]), ("docs/operations.md", ["configuration", "server"])):
        path = ROOT / name
        page = now = path.read_text(encoding="utf-8")
        for mark in marks:
            page = written(page, mark, {"configuration": table, "server": traits}[mark]())
        if page != now:
            wrong.append(name)
            if "--check" not in sys.argv:
                path.write_text(page, encoding="utf-8")
    if wrong and "--check" in sys.argv:
        sys.exit(f"{', '.join(wrong)}: the tables are not as the settings are; run scripts/tables.py")


if __name__ == "__main__":
    main()
