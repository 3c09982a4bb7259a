"""The sound of an edited video: as it came, or encoded anew where its new file or players do not take it so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard

from stages.containers import open_video
from stages.media import MediaSettings

log = logging.getLogger("vivid.train")

MP4_SOUND = ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac")
"""Sound that is copied into an mp4 as it is. Cameras' PCM would fit too, but browsers do not play it there."""
ENCODERS = {"mp4": "aac", "matroska": "flac"}
"""What other sound becomes."""
USUAL_RATE = 48000
RUN_UP_PACKETS = 2
"""Whole packets before the beginning that are kept: what a decoder needs to begin cleanly."""


@contextmanager
def open_sound(path: Path) -> Iterator[tuple[InputContainer, AudioStream] | None]:
    """The file and its first sound track; None where it has none. Raises MediaError or OSError."""
    with path.open("rb") as file, open_video(file, MediaSettings().max_pixels) as (source, pictures):
        if not source.streams.audio:
            yield None
            return
        pictures.discard = Discard.all
        sound = source.streams.audio[0]
        sound.discard = Discard.default
        yield source, sound


def sound_packets(
    container: OutputContainer, source: InputContainer, sound: AudioStream, start: Fraction
) -> Iterator[Packet[AudioStream]]:
    """Packets for a new track of the container, whose time 0 is the moment `start` of the source, in seconds.

    Damaged packets are left out.
    """
    kind = container.format.name
    name = sound.codec_context.name
    if name in (MP4_SOUND if kind == "mp4" else container.supported_codecs):
        return _copied(source, sound, container.add_stream_from_template(sound), start)
    encoder = ENCODERS[kind]
    rates = Codec(encoder, "w").audio_rates
    rate = sound.rate if rates is None or sound.rate in rates else USUAL_RATE
    # By their number: many files do not say which of its channels is where.
    encoded = container.add_stream(encoder, rate=rate, layout="mono" if sound.channels == 1 else "stereo")
    assert isinstance(encoded, AudioStream), "the encoders are of sound"
    return _encoded(source, sound, encoded, start)


def _copied(
    source: InputContainer, sound: AudioStream, copied: AudioStream, start: Fraction
) -> Iterator[Packet[AudioStream]]:
    # An mp4 says where its sound begins. In Matroska all that is there is played, also what the source had cut away.
    says_start = copied.container.format.name == "mp4"
    for packet in _packets(source, sound):
        if packet.dts is None or packet.pts is None:
            continue
        earlier = round(start / Fraction(packet.time_base))
        packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
        if not says_start and packet.duration and packet.pts + (RUN_UP_PACKETS + 1) * packet.duration <= 0:
            continue
        packet.stream = copied
        yield packet


def _encoded(
    source: InputContainer, sound: AudioStream, encoded: AudioStream, start: Fraction
) -> Iterator[Packet[AudioStream]]:
    damaged = 0
    for packet in _packets(source, sound):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(start / Fraction(frame.time_base))
                if frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate) <= 0:
                    continue
            yield from encoded.encode(frame)
    yield from encoded.encode(None)
    if damaged:
        log.warning("the sound of the source is damaged: %d of its packets are left out", damaged)


def _packets(source: InputContainer, sound: AudioStream) -> Iterator[Packet[AudioStream]]:
    """The track's packets, as far as the file goes; the last one is empty and flushes the decoder."""
    try:
        yield from source.demux(sound)
    except av.FFmpegError as error:
        log.warning("the sound of the source ends early: %s", error.strerror)
