"""The contact sheet: what stands on the page, what its pictures show, and that it stays the same."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from written_dataset import block, decode, small_scenes, write_dataset

from manifests.commits import RUN_FILE
from manifests.dataset import Dataset
from manifests.gallery import write_gallery
from manifests.gallery_data import GalleryData, GallerySettings
from manifests.gallery_funnel import funnel_steps, funnel_table
from manifests.gallery_html import Html, element, joined
from manifests.storage import open_store

SCENES, REJECTS = small_scenes()
FIRST, SECOND, IMAGE = SCENES


def whole_frame_when_boxed(mask, parameters):
    """Stands in for the mask operators: `box` covers the whole frame, the rest is the mask itself."""
    return np.ones_like(mask) if parameters["op"] == "box" else mask.copy()


def build(url: str | Path, **options) -> tuple[Dataset, list[str]]:
    store = open_store(url)
    write_dataset(store, SCENES, REJECTS, failed=("bad.mp4",))
    dataset = Dataset(store)
    return dataset, write_gallery(dataset, decode, whole_frame_when_boxed, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Dataset, list[str]]:
    return build(tmp_path_factory.mktemp("gallery") / "small")


@pytest.fixture(scope="module")
def page(built) -> str:
    dataset, paths = built
    return dataset.store.read(paths[0]).decode()


def picture(dataset: Dataset, name: str) -> np.ndarray:
    data = np.frombuffer(dataset.store.read(f"gallery/pictures/{name}.jpg"), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


class Outline(HTMLParser):
    """Tags in order, and whether they nest properly."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes[name] for found, attributes in self.tags if found == tag and name in attributes]


def test_the_page_is_whole_and_needs_nothing_from_outside(page):
    outline = Outline(page)
    assert outline.open == []
    assert "script" not in {tag for tag, _ in outline.tags}
    assert not re.search(r"(src|href)=\"(?!pictures/|#)", page)
    assert not re.search(r"https?:|url\(|@import", page)


def test_every_picture_on_the_page_is_written_and_every_written_one_is_on_the_page(built, page):
    dataset, paths = built
    assert paths[0] == "gallery/index.html"
    shown = {f"gallery/{source}" for source in Outline(page).attributes("img", "src")}
    assert shown == set(paths[1:]) == set(dataset.store.list("gallery/pictures"))


def test_every_picture_has_its_size_a_text_and_a_label(page):
    outline = Outline(page)
    for tag, attributes in outline.tags:
        if tag == "img":
            assert attributes["alt"]
            assert int(attributes["width"]) > 0
            assert int(attributes["height"]) > 0
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("figure") == tags.count("figcaption") > 20


def test_every_link_leads_somewhere(page):
    outline = Outline(page)
    anchors = {identifier for tag, attributes in outline.tags if (identifier := attributes.get("id"))}
    assert {link.removeprefix("#") for link in outline.attributes("a", "href")} <= anchors


def test_texts_from_the_data_are_escaped(page):
    assert "<script" not in page
    assert "a &lt;script&gt;alert(1)&lt;/script&gt; box" in page
    assert "small/a &lt;b&gt;&amp;.mp4" in page
    assert "torn &lt;" in page


def test_three_captions_of_every_entity_are_there(page):
    for text in ("a small round ball", "A ball lies there.", "A box. It moves to the right. It is grey.", "a red cup"):
        assert f">{text}<" in page


def test_the_score_of_a_caption_is_there_where_there_is_one(page):
    assert "<p>caption score 27.4</p>" in page
    assert page.count("caption score") == 1


def test_stability_is_explained_and_set_off_where_it_is_low(tmp_path, page):
    assert page.count("<b>stability 0.85</b>: tracked there and back, overlap with its first mask") == 2
    dataset, paths = build(tmp_path / "small", settings=GallerySettings(low_stability=0.9))
    assert dataset.store.read(paths[0]).decode().count('<b class="low">stability 0.85</b>') == 2


def test_the_funnel_counts_every_step(built):
    steps = {step.name: (step.kept, step.seen) for step in funnel_steps(built[0])}
    # 3 entities, 2 backgrounds, 3 pasted, and two that were left out; 6 tracks of 6 variants, one of them left out.
    assert steps == {
        "Sources": (3, 4),
        "Clips": (3, 3),
        "Tracks": (8, 10),
        "Mask variants": (35, 36),
        "Samples": (17 * 3 + 18, 17 * 3 + 18),
    }


def test_what_was_left_out_without_a_row_of_its_own_is_accounted_for(tmp_path):
    store = open_store(tmp_path / "small")
    write_dataset(store, SCENES, REJECTS, failed=("bad.mp4", "all clips too short.mp4"))
    steps = funnel_steps(Dataset(store))
    assert (steps[0].seen, steps[0].kept, steps[0].rest) == (5, 3, 1)
    table = funnel_table(steps, [])
    assert "no clip of it was kept" in table
    assert "20.0%" in table


def test_the_masked_picture_is_black_inside_the_mask_only(built):
    image = picture(built[0], f"{FIRST.clip_id}-masked")
    assert image.shape == (64, 96, 3)
    assert image[24:36, 12:24].max() < 40
    assert image[:14].min() > 40


def test_the_overlay_marks_entity_and_background_differently(built):
    plain = picture(built[0], f"{FIRST.clip_id}-keyframe").astype(int)
    found = picture(built[0], f"{FIRST.clip_id}-found").astype(int)
    entity = (found - plain)[24:36, 12:24].mean(axis=(0, 1))
    background = (found - plain)[:12].mean(axis=(0, 1))
    assert entity[0] > 12 > 0 > entity[2]  # a breath of orange
    assert background[2] > 20 > background[0]  # blue
    # Between the two lies what is neither: it stays as it was.
    assert np.abs(found - plain)[16:18, 5:7].mean() < 25


def test_the_mask_is_followed_through_the_clip(built):
    first, last = (picture(built[0], f"{FIRST.clip_id}-00-over-{t}").astype(int) for t in (0, 11))
    red = (last - first)[26:34, :, 0].mean(axis=0)
    # The square moves from 8..28 to 41..61, and its tint is orange.
    assert red[12:24].mean() < -12
    assert red[45:57].mean() > 12
    assert np.abs(red[70:]).mean() < 6


def test_a_mask_leaves_the_colours_of_the_thing_below_it(built):
    plain = picture(built[0], f"{FIRST.clip_id}-keyframe").astype(int)
    for name in ("found", "00-original", "00-over-0"):
        drawn = picture(built[0], f"{FIRST.clip_id}-{name}").astype(int)
        if drawn.shape == plain.shape:
            assert np.abs(drawn - plain)[26:34, 14:22].mean(axis=(0, 1)).max() < 0.12 * 255


def test_shares_on_the_keyframe_and_means_over_the_clip_are_told_apart(page):
    # 20 × 20 of 64 × 96 pixels on the keyframe; the rows of all samples say 0.1 on average.
    assert "original <b>6.5%</b><br>mean over the clip 10.0%" in page
    assert "box <b>100.0%</b><br>mean over the clip 10.0%" in page
    assert "of the frame, mean over the clip</p>" in page
    image = page[page.index(f'id="{IMAGE.clip_id}"') : page.index("Examples of what was left out")]
    assert "mean over the clip" not in image


def test_entities_have_a_letter_and_donors_the_name_of_their_file(page):
    for name in ("A: box", "A: ball", "A: cup"):
        assert f"</i>{name}</span></h4>" in page
    assert "Masked picture x ⊙ (1 − m) for A: cup" in page
    assert page.count("from “A: ball”<br><small>b.mp4</small>") == 2
    assert "</i>background (wall)</span>" in page


def test_every_entity_is_on_the_card_beyond_the_first_few_without_variants(tmp_path):
    scenes, rejects = small_scenes()
    first = scenes[0]
    box = first.things[0]
    first.things[1] = replace(first.things[1], tag="background")
    captions = ("an object", "a small red object", "An object lies there.")
    first.things[1:1] = [replace(box, number=n, tag="object", captions=captions, missing=()) for n in (1, 2)]
    store = open_store(tmp_path / "small")
    write_dataset(store, scenes, rejects)
    paths = write_gallery(Dataset(store), decode, whole_frame_when_boxed)
    page = store.read(paths[0]).decode()
    assert "A: box</span></h4>" in page
    assert "B: small red</span></h4>" in page
    assert "C: small red</span></h4>" in page
    assert "</i>background</span>" in page
    assert page.count("Its mask variants are not drawn here.") == 1
    assert f"gallery/pictures/{first.clip_id}-02-over-11.jpg" in paths
    assert f"gallery/pictures/{first.clip_id}-01-hull.jpg" in paths
    assert f"gallery/pictures/{first.clip_id}-02-hull.jpg" not in paths


def test_an_image_that_was_taken_from_a_video_says_so(tmp_path, page):
    assert "1 frame taken as an image" not in page
    scenes, _ = small_scenes()
    scenes[2].source_kind = "video"
    store = open_store(tmp_path / "small")
    write_dataset(store, scenes, [])
    paths = write_gallery(Dataset(store), decode, whole_frame_when_boxed)
    assert store.read(paths[0]).decode().count("1 frame taken as an image") == 1


def test_variants_come_from_their_stored_parameters(built):
    original = picture(built[0], f"{FIRST.clip_id}-00-original").astype(int)
    boxed = picture(built[0], f"{FIRST.clip_id}-00-box").astype(int)
    assert np.abs(boxed - original)[50:60, 80:90].mean() > 8
    hull = picture(built[0], f"{FIRST.clip_id}-00-hull").astype(int)
    assert np.abs(hull - original)[50:60, 80:90].mean() < 4


def test_a_dropped_variant_shows_why_in_its_place(built, page):
    assert "left out: covers 70.0% in its largest frame, the limit is 60.0%" in page
    assert f"gallery/pictures/{FIRST.clip_id}-00-box_expand.jpg" not in built[1]


def test_deletion_shows_the_pasted_mask_for_both_motions_and_its_donor(built, page):
    dataset, paths = built
    assert "Deletion: own trajectory" in page
    assert "Deletion: with the background" in page
    for number in (90, 91):
        for frame in (0, 11):
            assert f"gallery/pictures/{FIRST.clip_id}-{number}-paste-{frame}.jpg" in paths
    donor = picture(dataset, f"{SECOND.track_id(0)}-donor").astype(int)
    plain = picture(dataset, f"{SECOND.clip_id}-keyframe").astype(int)
    assert (donor - plain)[8:12, 64:68, 0].mean() > 8
    assert np.abs(donor - plain)[30:60].mean() < 5


def test_a_donor_outside_every_shard_is_named_without_a_picture(built, page):
    assert "its clip is in no shard" in page
    assert f">{'f' * 16}-00<" in page
    assert not any("f" * 16 in path for path in built[1])


def test_rejects_come_with_reason_value_threshold_and_thumbnail(built, page):
    section = page[page.index("Examples of what was left out") :]
    assert "0.1% &lt; 0.2%<small>threshold, mean over the frames it is seen in" in section
    assert "70% &gt; 60%<small>threshold, in its largest frame" in section
    assert f"pictures/{IMAGE.clip_id}-thumbnail.jpg" in section
    assert f'<a href="#{FIRST.clip_id}">small/a &lt;b&gt;&amp;.mp4</a>' in section
    assert page.count("its mask was not kept") == 1
    assert f"{IMAGE.clip_id} pasted" in section
    assert "small/bad.mp4" in section


def test_a_card_says_which_tracks_of_its_clip_were_left_out(page):
    card = page[page.index(f'id="{FIRST.clip_id}"') : page.index(f'id="{IMAGE.clip_id}"')]
    assert card.count("<p>Left out: too small.</p>") == 1
    assert "<p>Left out: no other clip could lend its shape.</p>" in page


def test_no_picture_of_an_example_is_shown_twice(tmp_path):
    again = [replace(REJECTS[1], id=f"{FIRST.clip_id}-{n:02d}") for n in (2, 3)]
    other = replace(REJECTS[1], id=f"{FIRST.clip_id}-04", reason="min_visible")
    store = open_store(tmp_path / "small")
    write_dataset(store, SCENES, [*REJECTS, *again, other])
    paths = write_gallery(Dataset(store), decode, whole_frame_when_boxed)
    page = store.read(paths[0]).decode()
    section = page[page.index("Examples of what was left out") :]
    assert section.count(f"pictures/{FIRST.clip_id}-thumbnail.jpg") == 1
    # Three of one reason share a card, the one of another reason has its own.
    assert section.count(f'<a href="#{FIRST.clip_id}">') == 3
    assert section.count("its mask was not kept") == 4


def test_examples_of_a_reason_are_limited(tmp_path):
    more = [replace(REJECTS[1], id=f"{FIRST.clip_id}-{n:02d}") for n in range(2, 9)]
    store = open_store(tmp_path / "small")
    write_dataset(store, SCENES, [*REJECTS, *more])
    with GalleryData(Dataset(store), decode) as data:
        reason = next(reason for reason in data.reasons(3) if reason.reason == "min_area")
    assert reason.count == 8
    assert len(reason.examples) == 3
    assert reason.examples[0].origin == "small/a <b>&.mp4"


def test_masks_of_tracks_without_samples_are_found_in_the_shard(built):
    with GalleryData(built[0], decode) as data:
        shown = {clip.clip.clip_id: clip for clip in data.shown_clips(9)}
    masks = shown[FIRST.clip_id].content.masks
    assert sorted(masks) == [FIRST.track_id(number) for number in (0, 80, 90, 91)]
    assert np.array_equal(masks[FIRST.track_id(80)].mask(0), ~block(64, 96, 4, 16, 28))
    # The last clip of the shard: no headers follow.
    assert sorted(shown[IMAGE.clip_id].content.masks) == [IMAGE.track_id(number) for number in (0, 90)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_choice_of_clips_is_limited_and_shows_each_split_and_kind(built, count):
    with GalleryData(built[0], decode) as data:
        shown = data.shown_clips(count)
        again = data.shown_clips(count)
    assert len(shown) == count
    assert [clip.clip.clip_id for clip in shown] == [clip.clip.clip_id for clip in again]
    if count == 3:
        assert {(clip.clip.split, clip.clip.kind) for clip in shown} == {
            ("train", "video"),
            ("eval", "video"),
            ("train", "image"),
        }
        assert [clip.clip.kind for clip in shown] == ["video", "video", "image"]


def test_equal_datasets_give_equal_bytes_on_a_disk_and_in_an_object_store(built, tmp_path):
    dataset, paths = built
    other, again = build("memory://gallery-test/small")
    assert again == paths
    for path in paths:
        assert other.store.read(path) == dataset.store.read(path), path


def test_pictures_of_an_earlier_page_are_removed(tmp_path):
    dataset, before = build(tmp_path / "small")
    dataset.store.replace("gallery/notes.txt", b"mine")
    after = write_gallery(dataset, decode, whole_frame_when_boxed, max_clips=1)
    assert set(dataset.store.list("gallery")) == {*after, "gallery/notes.txt"}
    assert len(after) < len(before)


def test_a_dataset_without_samples_still_has_a_page(tmp_path):
    store = open_store(tmp_path / "empty")
    store.replace(RUN_FILE, b'{"epoch": 1}')
    paths = write_gallery(Dataset(store), decode, whole_frame_when_boxed)
    assert paths == ["gallery/index.html"]
    assert "Nothing was left out." in store.read(paths[0]).decode()


def test_pictures_are_no_wider_than_asked(tmp_path):
    dataset, _ = build(tmp_path / "small", settings=GallerySettings(large_width=80, small_width=64))
    assert picture(dataset, f"{FIRST.clip_id}-keyframe").shape == (53, 80, 3)
    assert picture(dataset, f"{FIRST.clip_id}-00-over-0").shape == (43, 64, 3)


def test_text_is_escaped_and_markup_is_not():
    inner = element("b", "<&>")
    assert inner == "<b>&lt;&amp;&gt;</b>"
    assert element("p", inner, class_="x", title='a"b', hidden=True, id=None) == (
        '<p class="x" title="a&quot;b" hidden><b>&lt;&amp;&gt;</b></p>'
    )
    assert joined(["<", Html("<br>")], " & ") == "&lt; &amp; <br>"
