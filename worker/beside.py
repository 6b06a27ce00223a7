"""Work beside the jobs that is claimed under a lease: what measuring and verifying share."""

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import leases
from store.attempts import Claim as JobClaim
from store.leases import LeasedTable
from worker import answer_file, prepare
from worker.errand import errand
from worker.launcher import NotReady
from worker.preparation import Preparation, preparation_order
from worker.rounds import Rounds
from worker.storable import storable
from worker.work_order import AttemptFolder, OrderTooLarge
from worker.workshop import Workshop

_log = structlog.get_logger(__name__)


class Interrupted(Exception):
    """The worker stops, or the work is no longer its own: nothing is to be written but that it is given back."""


class NoAnswer(Exception):
    """There is no answer and never will be one."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Claimed(Protocol):
    """A row that this worker holds."""

    @property
    def id(self) -> str: ...
    @property
    def attempt(self) -> int: ...


C = TypeVar("C", bound=Claimed, contravariant=True)
H = TypeVar("H", bound=Claimed)


class Ledger(Protocol[C]):
    """The room of the store that keeps such rows."""

    def renew(self, session: Session, claim: C, *, lease_s: float) -> bool: ...
    def fail(self, session: Session, claim: C, *, kind: str, message: str) -> bool: ...
    def give_back(self, session: Session, claim: C) -> bool: ...


@final
class Watch:
    """Renews a row's lease, and says when the work must not go on."""

    def __init__(self, shop: Workshop, renew: Callable[[Session], bool], *, limit_s: float) -> None:
        self._shop = shop
        self._renew = renew
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        self._renew_at = time.monotonic() + shop.settings.beat_s

    def look(self) -> None:
        """Raises ``Interrupted`` or ``NoAnswer``."""
        now = time.monotonic()
        if self._shop.stopping.is_set():
            raise Interrupted
        if now > self._deadline:
            raise NoAnswer("time_limit", f"It took longer than {self._limit_s:g} s.")
        if now > self._renew_at:
            self._renew_at = now + self._shop.settings.beat_s
            with self._shop.database.writing.begin() as session:
                if not self._renew(session):
                    raise Interrupted


class LeaseHolder(ABC, Generic[H]):
    """A thread that sees one row through at a time; it looks when a bell rings, and as often as the poller."""

    def __init__(
        self, shop: Workshop, name: str, table: type[LeasedTable], ledger: Ledger[H], *, limit_s: float
    ) -> None:
        self._shop = shop
        self._table = table
        self._ledger = ledger
        self._limit_s = limit_s
        self._rounds = Rounds(name, self._take_one, every_s=shop.settings.poll_s)

    def start(self) -> None:
        self._rounds.start()

    def wake(self) -> None:
        """Look now."""
        self._rounds.wake()

    def close(self) -> None:
        """Ends after giving back the row under way. The workshop must be stopping."""
        self._rounds.close()

    @abstractmethod
    def _claim(self) -> H | None:
        """Takes the next row for this worker, in a transaction of its own; or None."""

    @abstractmethod
    def _found(self, claim: H, folder: AttemptFolder, watch: Watch) -> Callable[[Session], bool]:
        """What writes the answer. Raises ``Interrupted`` or ``NoAnswer``."""

    def _take_one(self) -> bool:
        """Claim a row and see it through; whether there was one."""
        if self._shop.stopping.is_set() or not self._shop.launcher.wait_ready(0):
            return False
        with self._shop.database.reading() as session:
            if not leases.any_open(session, self._table):
                return False
        claim = self._claim()
        if claim is None:
            return False
        self._see_through(claim)
        return True

    def _see_through(self, claim: H) -> None:
        """Finds the answer in a folder of its own, and writes it; or why there is none."""
        shop, ledger = self._shop, self._ledger
        folder = AttemptFolder(shop.settings.attempts_dir / claim.id / str(claim.attempt), Path())
        lease_s = shop.settings.lease_s
        watch = Watch(shop, lambda session: ledger.renew(session, claim, lease_s=lease_s), limit_s=self._limit_s)
        try:
            shutil.rmtree(folder.path.parent, ignore_errors=True)
            folder.path.mkdir(parents=True)
            folder.log.touch()
            if claim.attempt > leases.MAX_ATTEMPTS:
                raise NoAnswer("attempts_used_up", f"{leases.MAX_ATTEMPTS} workers died while they were at it.")
            finish = self._found(claim, folder, watch)
            with shop.database.writing.begin() as session:
                finish(session)
        except (NoAnswer, OrderTooLarge) as error:
            self._fail(claim, getattr(error, "kind", "spec_too_large"), str(error))
        except (Interrupted, NotReady):
            with shop.database.writing.begin() as session:
                ledger.give_back(session, claim)
        except SQLAlchemyError:
            raise
        except Exception as error:  # the outer door: a mistake of ours must not end the thread
            _log.exception("work_beside_failed", id=claim.id)
            self._fail(claim, "internal", f"The worker failed: {error!r:.500}")
        finally:
            shutil.rmtree(folder.path.parent, ignore_errors=True)

    def _fail(self, claim: H, kind: str, message: str) -> None:
        error = storable({"message": message})
        with self._shop.database.writing.begin() as session:
            self._ledger.fail(session, claim, kind=kind, message=error["message"])


def dataset_of(shop: Workshop, job: JobClaim, folder: AttemptFolder, watch: Watch) -> dict[str, Any]:
    """The job's prepared data, prepared again where they are gone. Raises ``Interrupted`` or ``NoAnswer``."""
    order = preparation_order(shop.settings, job)
    dataset = prepare.cached(order)
    if dataset is None:
        with Preparation(order, folder=folder.path, log=folder.log) as preparation:
            while (dataset := preparation.answer(0.05)) is None:
                watch.look()
    if (error := dataset.get("error")) is not None:
        raise NoAnswer(error["kind"], error["message"])
    return dataset


def answered(
    shop: Workshop, folder: AttemptFolder, order: bytes, watch: Watch, *, threads: int, filtered: bool
) -> dict[str, Any]:
    """What a process says that takes this order, waited for with an eye on lease, limit and worker."""
    with errand(shop.launcher, folder, order, threads=threads, filtered=filtered) as sent:
        while not sent.has_ended(within_s=0.1):
            watch.look()
    answer = answer_file.read(folder.path)
    if answer is None:
        raise NoAnswer("crashed", "The process ended without an answer.")
    if (error := answer.get("error")) is not None:
        raise NoAnswer(error["kind"], error["message"])
    return answer
