"""Options that many commands take, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA_DIR = Path("fairgate-data")
DataDir = Annotated[Path, typer.Option(envvar="FAIRGATE_DATA_DIR", help="Where `fairgate up` keeps its data.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
