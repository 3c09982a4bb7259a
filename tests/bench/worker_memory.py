"""Whether a worker that has seen many clips is larger than one that has seen few."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.annotate_worker import annotate_worker
from bench.figures import Figure, Report, Table
from bench.processes import workers

WARM_UP = 0.25
"""Share of the clips after which caches and arenas are filled."""


def measure_memory(folder: Path, clips: int) -> Report:
    """Resident memory of one worker's process after each of `clips` clips through all stages of ANNOTATE."""
    host, records = annotate_worker(folder, clips)
    resident = []
    try:
        host.run(records[:1])
        (child,) = workers()
        for record in records:
            (done,) = host.run([record]).records
            assert not done.dropped, done.rejects
            resident.append(child.memory_info().rss / 2**20)
    finally:
        host.close()
    warm = int(clips * WARM_UP)
    before, after = resident[:warm], resident[warm:]
    slope = float(np.polyfit(np.arange(len(after)), after, 1)[0])
    note = f"largest resident memory of the worker after clip {warm} ÷ before it, {clips} clips"
    rows = [(max(before), max(after), resident[-1], 1024 * slope)]
    columns = (f"largest to clip {warm}, MiB", "largest after, MiB", "last, MiB", "slope after, KiB per clip")
    return Report(
        [Figure(f"memory of a worker over {clips} clips", max(after) / max(before), "at most", 1.05, note)],
        [Table("Memory of a worker", columns, rows)],
    )
