"""Decoding against a bare PyAV loop, and how often a pool decodes each frame."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import av
import numpy as np

from bench.annotate_worker import annotate_worker
from bench.counting_stage import CountedClip
from bench.figures import Figure, Report, interleaved_least
from models.protocols import Image
from stages.media import decode_clip

COUNTER = "bench.counting_stage:CountDecoded"


def bare_loop(data: bytes) -> list[Image]:
    """What anybody would write."""
    with av.open(io.BytesIO(data), "r") as container:
        container.streams.video[0].thread_count = 1
        return [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in container.decode(video=0)]


def processor_seconds(work: Callable[[bytes], Sequence[Image]], data: bytes) -> float:
    """Processor time of decoding; unlike the clock it does not count what other processes take."""
    start = time.process_time()
    frames = work(data)
    seconds = time.process_time() - start
    assert frames
    return seconds


def measure_decoding(clips: Sequence[Path], repetitions: int) -> Report:
    """Bare loop ÷ `decode_clip` as the stages call it, on the same files."""
    ours = theirs = 0.0
    for clip in clips:
        data = clip.read_bytes()
        least = interleaved_least(
            partial(processor_seconds, partial(decode_clip, exact=False), data),
            partial(processor_seconds, bare_loop, data),
            repetitions,
        )
        ours, theirs = ours + least[0], theirs + least[1]
    note = (
        f"processor time of av.open, decode, to_ndarray('rgb24') on one thread ÷ that of stages.media.decode_clip; "
        f"{len(clips)} clips, {repetitions} repetitions in turn, least"
    )
    return Report([Figure("decode speed against a bare PyAV loop", theirs / ours, "at least", 0.9, note)])


def measure_decodes_per_frame(folder: Path, clips: int) -> Report:
    """Frames decoded by a worker of the ANNOTATE pool, per frame of its clips."""
    host, waiting = annotate_worker(folder, clips, extra_stage=COUNTER)
    try:
        done = host.run([CountedClip(work.id, work.clip, work.location) for work in waiting]).records
    finally:
        host.close()
    counts = [work.frames_decoded for work in done if isinstance(work, CountedClip) and not work.dropped]
    assert len(counts) == clips, done[0].rejects
    per_frame = counts[-1] / sum(work.clip.num_frames for work in waiting)
    note = f"counted at av.open in the worker, all stages of ANNOTATE, {clips} clips"
    return Report([Figure("decodes of each frame per pool", per_frame, "at most", 1.0, note)])
