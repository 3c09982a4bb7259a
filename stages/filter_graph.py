"""Chains of libavfilter filters on one thread."""

from __future__ import annotations

from av.filter import Graph
from av.video.frame import VideoFrame

UNSPECIFIED_MATRIX = 2
YUV_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""FFmpeg's numbers of the YUV matrices (AVCOL_SPC_…) that filters know, with the scale filter's names for them."""


HIGHEST_STANDARD_DEFINITION = 576


def yuv_matrix(picture: VideoFrame) -> str:
    """The scale filter's name of the picture's YUV matrix; an untagged one follows its size, as players have it."""
    untagged = "bt709" if picture.height > HIGHEST_STANDARD_DEFINITION else "bt601"
    return YUV_MATRICES.get(picture.colorspace, untagged)


def forget_unknown_matrix(picture: VideoFrame) -> None:
    """Untag a picture whose matrix filters would refuse: RGB, or a number a broken file made up."""
    if picture.colorspace not in YUV_MATRICES:
        picture.colorspace = UNSPECIFIED_MATRIX


def build_graph(like: VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    """A graph that takes pictures like `like` and runs them through `filters`, (name, arguments) each.

    Time stamps pass through uninterpreted. Raises av.FFmpegError when a filter refuses such pictures.
    """
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{like.width}x{like.height}",
        pix_fmt=like.format.name,
        time_base="1/1000",
        colorspace=str(like.colorspace),
        range=str(like.color_range),
    )
    nodes = [source, *(graph.add(name, arguments) for name, arguments in filters), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return graph
