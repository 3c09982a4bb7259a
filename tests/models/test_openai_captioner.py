"""Captions over real HTTP from a server that does everything a server can do wrong."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import traceback

import cv2
import numpy as np
import pytest
from caption_server import GOOD_TEXT, LONG_TEXT, MODEL, CaptionServer
from small_work import block, clip_row, context_in, track_of, work_of

from models.openai_captioner import OpenAICaptioner, OpenAICaptionerSettings, wait_s
from models.protocols import Captions, EntityView, ModelInfo, NoCaptions
from models.registry import ModelChoice, full_settings, make_model, weights_of
from stages.caption import Caption, CaptionSettings

KEY = "sk-a-secret-that-must-not-be-seen"
GOOD = Captions("a dog", "a dog with a red collar", LONG_TEXT)


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy of the machine stands between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def view(number=0, tag="dog", count=2):
    mask = np.zeros((32, 48), np.bool_)
    mask[8:24, 8:40] = True
    frames = tuple(np.full((32, 48, 3), (200, 40 * index, number), np.uint8) for index in range(count))
    path = np.full((count, 2), 0.5, np.float32)
    return EntityView(f"0123456789abcdef-{number:02d}", 3, tag, frames, (mask,) * count, path, 1.0)


def settings(url, **given):
    quick = {"first_wait_s": 0.01, "longest_wait_s": 0.05, "attempts": 3, "prompt": {"side": 56}}
    return OpenAICaptionerSettings.model_validate({"url": url, "model": MODEL, **quick, **given})


def captions(server, views=None, **given):
    return OpenAICaptioner(settings(server.url, **given)).caption([view()] if views is None else views)


def failure(server, **given):
    (answer,) = captions(server, **given)
    assert isinstance(answer, NoCaptions)
    assert "\n" not in answer.message
    return answer


def dead_url():
    """An address nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_one_request_carries_the_pictures_and_the_words():
    with CaptionServer() as server:
        assert captions(server) == [GOOD]
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body["model"] == MODEL
    assert (asked.body["temperature"], asked.body["seed"], asked.body["max_tokens"]) == (0, 0, 512)
    assert "The 2 pictures" in asked.text
    assert "took it for: dog." in asked.text
    assert "authorization" not in asked.headers
    for index, image in enumerate(asked.images):
        head, _, data = image.partition(",")
        assert head == "data:image/png;base64"
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (56, 56, 3)
        # OpenCV reads blue first.
        assert tuple(picture[28, 28]) == (0, 40 * index, 200)
        assert tuple(picture[2, 2]) == (127, 127, 127)


def test_the_key_is_sent_and_seen_nowhere_else(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    monkeypatch.setenv("CAPTION_KEY", f"{KEY}\n")
    with CaptionServer(["ok", "500", "html", "429", "ok"], key=KEY) as server:
        given = settings(server.url, key_env="CAPTION_KEY")
        OpenAICaptioner.check(given)
        model = OpenAICaptioner(given)
        assert model.caption([view()]) == [GOOD]
        assert isinstance(model.caption([view()])[0], NoCaptions)
        assert {request.headers["authorization"] for request in server.seen} == {f"Bearer {KEY}"}
    assert caplog.records
    everything = [record.getMessage() for record in caplog.records] + [str(vars(record)) for record in caplog.records]
    assert not [text for text in everything if KEY in text]
    assert KEY not in repr(model) + repr(model.info) + given.model_dump_json()
    assert KEY not in json.dumps(full_settings(ModelChoice(name="openai_captioner", settings=given.model_dump())))


@pytest.mark.parametrize("mode", ["unauthorised", "400", "500"])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_a_record(monkeypatch, caplog, mode):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with CaptionServer([mode], models_mode=mode) as server:
        given = settings(server.url, key_env="CAPTION_KEY")
        with pytest.raises(ValueError, match="endpoint") as caught:
            OpenAICaptioner.check(given)
        message = failure(server, key_env="CAPTION_KEY").message
        assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.seen)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in message
    assert ("the key in CAPTION_KEY" if mode == "unauthorised" else "sent with Bearer ***") in message
    assert KEY not in caplog.text


def test_a_key_in_an_answer_is_cleaned_from_the_record(monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with CaptionServer(answer=f"no JSON but {KEY}", key=KEY) as server:
        answer = failure(server, key_env="CAPTION_KEY")
    assert answer.reason == "unparsed"
    assert KEY not in answer.message
    assert "no JSON but ***" in answer.message


def test_keys_of_the_environment_are_not_sent_unasked(monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID"):
        monkeypatch.setenv(name, KEY)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login someone password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with CaptionServer() as server:
        assert captions(server) == [GOOD]
        OpenAICaptioner.check(settings(server.url))
    for request in server.seen:
        assert "authorization" not in request.headers
        assert KEY not in str(request.headers)


@pytest.mark.parametrize(
    ("value", "fault"), [(None, "is not set"), ("  ", "is not set"), ("a\nb", "does not hold a key")]
)
def test_a_key_that_is_none_is_one_sentence(monkeypatch, value, fault):
    monkeypatch.delenv("CAPTION_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CAPTION_KEY", value)
    given = settings("http://127.0.0.1:1/v1", key_env="CAPTION_KEY")
    for use in (OpenAICaptioner, OpenAICaptioner.check):
        with pytest.raises(ValueError, match=f"CAPTION_KEY.* {fault}") as caught:
            use(given)
        assert "a\nb" not in str(caught.value)


def test_it_needs_no_weights_and_is_made_by_name():
    choice = ModelChoice(name="openai_captioner", settings={"url": "http://host:8000/v1/", "model": "Org/Model-2B"})
    assert weights_of(choice) is None
    model = make_model(choice)
    assert model.info == ModelInfo("openai_captioner", "Org/Model-2B-prompt1")
    assert full_settings(choice)["settings"]["url"] == "http://host:8000/v1"


def test_many_requests_are_in_flight_and_no_more_than_allowed():
    views = [view(number) for number in range(12)]
    # The server answers none before four are there.
    with CaptionServer(["together"], together=4) as server:
        assert captions(server, views, concurrency=4) == [GOOD] * 12
        assert server.most_in_flight == 4
        assert len(server.asked) == 12


def test_answers_keep_the_order_of_the_views():
    def late_first(seen):
        number = seen.text.partition("took it for: thing ")[2].partition(".")[0]
        return GOOD_TEXT.replace("a dog", f"a dog {number}")

    views = [view(number, tag=f"thing {number}") for number in range(8)]
    with CaptionServer(["slow", "ok"], answer=late_first) as server:
        assert [answer.short for answer in captions(server, views)] == [f"a dog {number}" for number in range(8)]


@pytest.mark.parametrize("mode", ["500", "429", "close", "html", "empty", "cut"])
def test_what_may_pass_is_tried_again(mode):
    with CaptionServer([mode, mode, "ok"]) as server:
        assert captions(server) == [GOOD]
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("500", "answered HTTP 500 to /chat/completions: .*it is a 500"),
        ("429", "answered HTTP 429 to /chat/completions: .*it is a 429"),
        ("close", "gave no answer"),
        ("html", "no chat completion"),
        ("empty", "no chat completion"),
    ],
)
def test_attempts_are_bounded(mode, said):
    with CaptionServer([mode]) as server:
        answer = failure(server)
        assert len(server.asked) == 3
    assert answer.reason == "endpoint"
    assert server.url in answer.message
    assert "after 3 attempts" in answer.message
    assert re.search(said, answer.message)


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_a_server_that_never_finishes_is_left_after_the_time_limit(mode):
    with CaptionServer([mode, "ok"]) as server:
        assert captions(server, timeout_s=0.5) == [GOOD]
    with CaptionServer([mode]) as server:
        answer = failure(server, timeout_s=0.2, attempts=2)
        assert len(server.asked) == 2
    assert answer.reason == "endpoint"
    assert "did not answer within 0.2 seconds, after 2 attempts" in answer.message


def test_a_slow_server_is_waited_for():
    with CaptionServer(["slow"], slow_s=0.4) as server:
        assert captions(server, timeout_s=30) == [GOOD]
        assert len(server.asked) == 1


@pytest.mark.parametrize("mode", ["400", "404", "unauthorised", "redirect", "huge"])
def test_what_will_not_pass_is_not_tried_again(mode):
    with CaptionServer([mode]) as server:
        answer = failure(server)
        assert len(server.seen) == 1
    assert answer.reason == "endpoint"
    assert server.url in answer.message
    assert "attempts" not in answer.message


def test_nobody_listening_fails_the_record_after_the_attempts():
    answer = OpenAICaptioner(settings(dead_url())).caption([view()])[0]
    assert isinstance(answer, NoCaptions)
    assert "gave no answer (Connection refused), after 3 attempts" in answer.message


def test_one_bad_request_does_not_stop_the_others():
    with CaptionServer(["400", "ok"]) as server:
        answers = captions(server, [view(number) for number in range(4)], concurrency=1)
    assert isinstance(answers[0], NoCaptions)
    assert answers[1:] == [GOOD] * 3


def test_prose_is_asked_for_again_and_then_unparsed():
    prose = "The animal in question is a dog."
    with CaptionServer(answer=lambda seen: GOOD_TEXT if "was refused" in seen.text else prose) as server:
        assert captions(server) == [GOOD]
        assert len(server.asked) == 2
    with CaptionServer(answer=prose) as server:
        answer = failure(server)
        assert len(server.asked) == 2
    assert answer.reason == "unparsed"
    assert prose in answer.message


def test_fields_can_be_added_replaced_and_left_out():
    extra = {"response_format": {"type": "json_object"}, "seed": 7, "max_tokens": None}
    with CaptionServer() as server:
        assert captions(server, extra_body=extra) == [GOOD]
    (asked,) = server.asked
    assert asked.body["response_format"] == {"type": "json_object"}
    assert asked.body["seed"] == 7
    assert "max_tokens" not in asked.body


def test_the_server_says_how_long_to_wait(monkeypatch):
    waited = []
    monkeypatch.setattr("models.openai_captioner.time.sleep", waited.append)
    for asked, wait in (("7", 7.0), ("7.5", 7.5), ("100000", 30.0), ("inf", 30.0)):
        with CaptionServer(["429", "ok"], retry_after=asked) as server:
            assert captions(server, first_wait_s=1.0, longest_wait_s=30.0) == [GOOD]
        assert waited.pop() == wait
    for senseless in ("soon", "-5", "nan", "Fri, 20 Nov 2026 12:00:00 GMT"):
        with CaptionServer(["429", "ok"], retry_after=senseless) as server:
            assert captions(server, first_wait_s=1.0, longest_wait_s=30.0) == [GOOD]
        assert 0.5 <= waited.pop() <= 1.0
    assert waited == []


def test_waits_double_up_to_the_longest_and_differ_between_views():
    given = settings("http://host/v1", first_wait_s=1.0, longest_wait_s=8.0)
    waits = [wait_s(given, view(), attempt, 0.0) for attempt in range(1, 8)]
    for wait, doubled in zip(waits, (1, 2, 4, 8, 8, 8, 8), strict=True):
        assert doubled / 2 <= wait <= doubled
    assert waits == [wait_s(given, view(), attempt, 0.0) for attempt in range(1, 8)]
    assert len({wait_s(given, view(number), 1, 0.0) for number in range(20)}) == 20
    assert wait_s(given, view(), 100, 0.0) <= 8


def test_the_check_passes_with_a_model_that_is_served(monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with CaptionServer(key=KEY) as server:
        OpenAICaptioner.check(settings(server.url, key_env="CAPTION_KEY"))
    assert [(request.method, request.path) for request in server.seen] == [("GET", "/v1/models")]


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("500", "answered HTTP 500 to /models"),
        ("404", "answered HTTP 404 to /models"),
        ("html", "gave no list of models; its URL usually ends with /v1"),
        ("close", "gave no answer"),
        ("unauthorised", r"does not accept requests without key_env \(HTTP 401\)"),
        ("silent", "did not answer within 0.3 seconds"),
        ("redirect", "answered HTTP 307 to /models"),
    ],
)
def test_the_check_says_in_one_sentence_what_is_wrong(mode, fault):
    with CaptionServer(models_mode=mode) as server:
        with pytest.raises(ValueError, match=fault) as caught:
            OpenAICaptioner.check(settings(server.url, connect_timeout_s=0.3))
        assert len(server.seen) == 1
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_check_of_an_address_nobody_listens_on():
    with pytest.raises(ValueError, match=r"gave no answer \(Connection refused\)"):
        OpenAICaptioner.check(settings(dead_url()))


def test_the_check_knows_the_models_served():
    with CaptionServer() as server, pytest.raises(ValueError, match=f"no model 'other'; it has {MODEL}"):
        OpenAICaptioner.check(settings(server.url, model="other"))


def test_in_the_stage_the_clip_fails_and_the_others_go_on(tmp_path):
    def record(name):
        frames = [np.full((64, 96, 3), 90, np.uint8)] * 12
        return work_of(clip_row(name * 16), frames, [track_of([block(0, 0)] * 12, number) for number in range(2)])

    with CaptionServer(["500", "500", "500", "ok"]) as server:
        choice = {"name": "openai_captioner", "settings": settings(server.url, concurrency=1).model_dump()}
        stage = Caption(CaptionSettings.model_validate({"captioner": choice}))
        stage.setup(context_in(tmp_path))
        first, second = record("a"), record("b")
        stage.run([first, second])
    # One sentence for the clip, which `vivid retry` takes again.
    assert [(reject.id, reject.level, reject.state, reject.reason) for reject in first.rejects] == [
        (first.id, "clip", "failed", "endpoint")
    ]
    assert first.dropped
    assert [track.captions for track in second.tracks] == [GOOD] * 2
    assert not second.rejects
    assert not second.dropped
    assert second.tracks[0].models == {"captioner": f"openai_captioner@{MODEL}-prompt1"}
