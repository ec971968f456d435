"""One promotion at a time, on a tracking server that knows no locks.

The server makes a registered model of a given name only once, whoever asks at the same time: that is the lock. Who made
`<name>.promoting` holds it, and deletes it when done. The holder may have died, so that it counts for a lease only: who
has watched one lock for that long without a change takes over by making `<name>.promoting.2` (then 3, …), which again
only one can. No clock is compared with another's: before a write, a holder whose own lease is half over renews it by a
tag of its lock, and the others begin again to count the time for which they have watched. So a slow holder keeps the
lock. Two that make locks of different numbers at the same time both see both: the lower number waits, the higher one
gives way.

What remains is a write that the network holds up for longer than half a lease. It moves an alias late; no order of
writes leaves the registry without champion.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple, Self
from uuid import uuid4

from siamese.console import log
from siamese.errors import InputError
from siamese.registry.client import Registry
from siamese.tracking.client import reraise_unreachable

LEASE = 60.0  # seconds without a sign of the holder after which others take over; one request takes less than half
PATIENCE = 5  # leases that one waits for others while nothing changes
SOON = (0.05, 0.15)  # seconds between two looks
TOKEN, WHO, SINCE, RENEWED = (f"siamese.lock.{name}" for name in ("token", "who", "since", "renewed"))
_AGAIN = ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")  # the latter: it was deleted just then


class _Made(NamedTuple):
    """A lock as it was made, and renewed last."""

    token: str
    who: str
    since: str
    renewed: str


class Lock:
    """Holds the lock of a registered model's aliases while open.

    Args:
        registry: of the model.
        who: named to those who wait.
    """

    def __init__(self, registry: Registry, who: str) -> None:
        self._client = registry.client
        self._name = f"{registry.name}.promoting"
        self._who = who
        self._token = uuid4().hex
        self._number = 0
        self._began = 0.0
        self._expired: set[_Made] = set()

    def __enter__(self) -> Self:
        """Waits until nobody else holds it.

        Raises:
            InputError: that took too long, or the server can't be used.
        """
        watched: dict[_Made, float] = {}  # from when on
        began, told = time.monotonic(), False
        changed = began
        while (now := time.monotonic()) < changed + PATIENCE * LEASE:
            there = self._there()
            if watched.keys() != set(there.values()):
                changed = now
            watched = {one: watched.get(one, now) for one in there.values()}
            self._expired = {one for one, start in watched.items() if now - start >= LEASE}
            valid = [one for one in there.values() if one not in self._expired]
            if not valid and self._taken(max(there, default=0) + 1):
                return self
            if valid and not told and now - began > 1:
                told = True
                log(f"waiting for {valid[0].who}, who changes the registry since {valid[0].since}")
            time.sleep(random.uniform(*SOON))
        raise InputError(
            f"others have been changing the registry for {PATIENCE * LEASE:.0f} s: try again, or, if nobody is, "
            f"delete the registered model {self._name}"
        )

    def __exit__(self, *_: object) -> None:
        """Gives it up. Where the server is away by now, the lease ends by itself."""
        with suppress(InputError):
            there = self._there()
            for number in sorted(there):  # its own comes last: until then nobody else begins
                if there[number] in self._expired or there[number].token == self._token:
                    self._delete(number)

    def check(self) -> None:
        """To be called before each write. Renews the lease when half of it is over.

        Raises:
            InputError: somebody has taken over.
        """
        while True:
            if self._half_over():
                self._renew()
            there = self._there()
            if not self._mine(there) or max(there) > self._number:
                raise InputError(
                    f"{self._name}: others took over the lock, as this took longer than {LEASE:g} s; run it again"
                )
            if not self._half_over():
                return

    def _taken(self, number: int) -> bool:
        """Makes the lock of that number; whether it is held then. If not, nothing of it is left."""
        from mlflow.exceptions import MlflowException

        self._number, self._began = number, time.monotonic()
        tags = {TOKEN: self._token, WHO: self._who, SINCE: datetime.now(UTC).isoformat(timespec="seconds")}
        with reraise_unreachable():
            try:
                self._client.create_registered_model(self._name_of(number), tags)
            except MlflowException as error:
                if error.error_code not in _AGAIN:
                    raise
        # What is there counts, not the answer: a request that was sent twice found what it had made the first time.
        while self._mine(there := self._there()):
            undecided = {one for other, one in there.items() if other < number} - self._expired
            if max(there) == number and not undecided:
                return True
            if undecided or self._half_over():
                self._delete(number)
                return False
            time.sleep(random.uniform(*SOON))
        return False

    def _renew(self) -> None:
        """Shows those who watch that the holder is alive."""
        from mlflow.exceptions import MlflowException

        self._began = time.monotonic()
        with reraise_unreachable():
            try:
                moment = datetime.now(UTC).isoformat()  # compared with nothing: it only has to be another one
                self._client.set_registered_model_tag(self._name_of(self._number), RENEWED, moment)
            except MlflowException as error:
                if error.error_code not in _AGAIN:
                    raise

    def _mine(self, there: Mapping[int, _Made]) -> bool:
        return self._number in there and there[self._number].token == self._token

    def _half_over(self) -> bool:
        return time.monotonic() - self._began > LEASE / 2

    def _there(self) -> dict[int, _Made]:
        """The locks that exist, by number."""
        with reraise_unreachable():
            found = self._client.search_registered_models(f"name LIKE '{self._name}%'", max_results=1000)
        made = {}
        for one in found:
            rest = re.fullmatch(r"(?:\.(\d+))?", one.name.removeprefix(self._name))
            if rest:
                tags = one.tags or {}
                made[int(rest[1] or 1)] = _Made(
                    tags.get(TOKEN, one.name),
                    tags.get(WHO, "somebody"),
                    tags.get(SINCE, "some time"),
                    tags.get(RENEWED, ""),
                )
        return made

    def _name_of(self, number: int) -> str:
        return self._name if number == 1 else f"{self._name}.{number}"

    def _delete(self, number: int) -> None:
        with suppress(InputError), reraise_unreachable():
            self._client.delete_registered_model(self._name_of(number))
