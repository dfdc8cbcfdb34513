"""Hears from a site, as long as a program runs, who has come and who was shut out.

A thread of its own asks the service once a second, so that the service knows whom to tell at once
when something changes. It is not needed for judging: without the service, the list that is known
goes on to hold until its grants run out.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import zmq

from pykarabo.errors import (
    ClockError,
    PykaraboError,
)

from ._site import Site
from ._site_link import SiteLink, require_same_time
from ._sockets import Socket

_log: Final = logging.getLogger(__name__)
ASK_EACH_S: Final = 1.0
AGAIN_S: Final = 0.6
"""Whoever does not get through tries less than twice a second."""
_STEP_S: Final = 0.1
_TELL_AGAIN_S: Final = 60.0


class SiteWatch:
    """Keeps a site's list of grants up to date until `close`.

    Args:
        context: whose sockets it uses.
        review: called in the watching thread after each answer, and once a second anyhow: grants
            also run out.
    """

    def __init__(
        self, site: Site, context: "zmq.Context[Socket]", review: Callable[[], None]
    ) -> None:
        self._site = site
        self._context = context
        self._review = review
        self._told = -_TELL_AGAIN_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pykarabo site", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (PykaraboError, OSError) as error:  # what is known goes on to hold
                self._note(error)
            self._review()
            self._stopping.wait(AGAIN_S)

    def _listen(self) -> None:
        with SiteLink(
            self._site.membership.service,
            self._site.pair,
            context=self._context,
            stopping=self._stopping.is_set,
        ) as link:
            link.open()
            while not self._stopping.is_set():
                self._take(link.ask(self._site.question()))
                self._review()
                until = time.monotonic() + ASK_EACH_S
                while time.monotonic() < until and not self._stopping.is_set():
                    if link.waits(_STEP_S):
                        self._take(link.receive())
                        self._review()

    def _take(self, answer: Mapping[str, Any]) -> None:
        if "time" in answer:
            try:
                require_same_time(float(answer["time"]), self._site.now_s(), "this host")
            except ClockError as error:
                self._note(error)
        self._site.learn(answer)

    def _note(self, error: Exception) -> None:
        """Tell what is wrong, but not each second."""
        if self._stopping.is_set():
            return
        now = time.monotonic()
        if now - self._told >= _TELL_AGAIN_S:
            self._told = now
            _log.warning("%s", error)

    def close(self) -> None:
        """Hear no more."""
        self._stopping.set()
        self._thread.join()
