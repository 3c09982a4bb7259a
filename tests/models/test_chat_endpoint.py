"""Single requests to a server, and what is said of its faults."""

from __future__ import annotations

import pytest
from caption_server import GOOD_TEXT, MODEL, CaptionServer

from models.chat_endpoint import ChatEndpoint, EndpointError, EndpointSettings

KEY = "sk-a-secret-that-must-not-be-seen"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}]}


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy of the machine stands between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def endpoint(server, **given):
    return ChatEndpoint(EndpointSettings.model_validate({"url": server.url, **given}))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"url": f"http://user:{KEY}@host/v1"}, "holds a user or password"),
        ({"url": f"http://{KEY}@host:80/v1"}, "holds a user or password"),
        ({"url": f"http://host/v1?api_key={KEY}"}, "without"),
        ({"url": f"{KEY}"}, "of the form"),
        ({"url": f"ftp://{KEY}/v1"}, "of the form"),
        ({"url": f"http://[{KEY}/v1"}, "not a URL"),
        ({"url": f"http://host:{KEY}/v1"}, "not a URL"),
        ({"key_env": KEY}, "pattern"),
    ],
)
def test_secrets_in_settings_are_refused_and_not_repeated(changes, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        EndpointSettings.model_validate({"url": "http://host/v1"} | changes)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "https://api.host.org/v1/", "http://[::1]:8000", "http://10.0.0.7/a/b/v1"]
)
def test_usual_urls_are_taken(url):
    assert EndpointSettings(url=url).url == url.rstrip("/")


def test_it_gives_the_text_and_the_models():
    with CaptionServer() as server:
        assert endpoint(server).answer(BODY) == GOOD_TEXT
        assert endpoint(server).models() == [MODEL]
    (asked,) = server.asked
    assert asked.body == BODY


def test_a_model_that_says_nothing_gives_an_empty_text():
    with CaptionServer(answer=lambda _: None) as server:
        assert endpoint(server).answer(BODY) == ""


@pytest.mark.parametrize(
    ("mode", "passing"),
    [
        ("500", True),
        ("429", True),
        ("close", True),
        ("cut", True),
        ("html", True),
        ("empty", True),
        ("silent", True),
        ("drip", True),
        ("400", False),
        ("404", False),
        ("unauthorised", False),
        ("redirect", False),
        ("huge", False),
    ],
)
def test_only_what_may_pass_is_said_to_pass(mode, passing):
    with CaptionServer([mode], retry_after="12") as server:
        with pytest.raises(EndpointError) as caught:
            endpoint(server, timeout_s=0.3).answer(BODY)
        assert len(server.seen) == 1
    assert caught.value.passing is passing
    assert caught.value.retry_after_s == (12.0 if mode == "429" else 0.0)
    assert str(caught.value).startswith(f"the caption endpoint {server.url} ")
    assert "\n" not in str(caught.value)


def test_after_a_fault_the_same_endpoint_goes_on():
    with CaptionServer(["cut", "drip", "huge", "500", "silent", "ok"]) as server:
        one = endpoint(server, timeout_s=0.3)
        for _ in range(5):
            with pytest.raises(EndpointError):
                one.answer(BODY)
        assert one.answer(BODY) == GOOD_TEXT


def test_the_key_is_cleaned_from_texts(monkeypatch):
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with CaptionServer() as server:
        assert endpoint(server, key_env="CAPTION_KEY").clean(f"Bearer {KEY}!") == "Bearer ***!"
        assert endpoint(server).clean("nothing to clean") == "nothing to clean"
