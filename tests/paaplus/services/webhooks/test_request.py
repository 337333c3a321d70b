"""One outgoing request, against receivers on this machine."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from paaplus.errors import InvalidInput, Unavailable
from paaplus.services.webhooks.request import post
from tests.support.receivers import receiving


def test_request_goes_to_the_checked_address_under_the_name_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1" if host == "hook.test" else host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "hook.test") + "?a=1"
        post(url, b"{}", {"X-Test": "1"}, allow_private=True, timeout_s=60)
        [(headers, body)] = receiver.received
    assert looked_up.count("hook.test") == 1, "a second look-up could give another address than was checked"
    assert headers["Host"].startswith("hook.test:")
    assert (headers["X-Test"], body) == ("1", b"{}")


def test_name_of_this_machine_gets_nothing_unless_it_is_allowed() -> None:
    with receiving() as receiver:
        url = receiver.url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(InvalidInput, match="no public address"):
            post(url, b"{}", {}, allow_private=False, timeout_s=60)
        assert receiver.received == []


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 500])
def test_answer_that_is_no_success_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    with receiving() as receiver:
        receiver.statuses = [status]
        with pytest.raises(Unavailable, match=str(status)):
            post(receiver.url, b"{}", {}, allow_private=True, timeout_s=60)
        assert len(receiver.received) == 1


def test_receiver_that_answers_a_byte_at_a_time_is_left_in_time() -> None:
    with receiving() as receiver:
        receiver.drips = True
        started = time.monotonic()
        with pytest.raises(Unavailable, match="no answer"):
            post(receiver.url, b"{}", {}, allow_private=True, timeout_s=0.5)
        assert time.monotonic() - started < 60


def test_closed_port_is_a_failure_that_may_pass() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(Unavailable, match="127"):
            post(url, b"{}", {}, allow_private=True, timeout_s=60)
