"""The nemesis for a minute, on three real brokers under load: whatever it breaks, nobody is lost and nobody doubled."""

from __future__ import annotations

from pathlib import Path

from fairgate.chaos.report import write
from fairgate.chaos.run import Options, run_chaos
from fairgate.chaos.scenarios import MIX

# CI's machine runs this beside nothing else, and yet may be slow: the load is not the point here.
JOINS_PER_S = 60.0
SEED = 5


def test_random_faults_for_a_minute_lose_and_double_nobody(data_dir: Path, tmp_path: Path) -> None:
    options = Options(
        scenarios=(MIX,), quick=True, seed=SEED, joins_per_s=JOINS_PER_S, data_dir=data_dir, keep_in=tmp_path
    )
    report = run_chaos(options, print)
    (result,) = report.results
    assert result.verdict is not None, result.trouble
    assert result.verdict.right, result.verdict.text()
    assert result.verdict.facts.joins > 0 and result.verdict.facts.tickets > 0
    assert result.faults, "nothing was broken: this proved nothing"
    assert all(path.stat().st_size > 0 for path in write(report, tmp_path))
