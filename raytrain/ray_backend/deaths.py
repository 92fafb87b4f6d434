"""Deaths of workers that Ray Tune does not know, told to it as deaths.

Tune starts a trial again when it is told that the trial's actor has died. When Ray itself ends a worker, because the
node runs low on memory or goes away, it says so by other errors, for which Tune ends the whole sweep by a RuntimeError.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError


@contextmanager
def known_to_tune() -> Generator[None]:
    """Have Tune take every error of Ray's own about an actor for its death, for as long as the context lasts."""
    original: Any = RayActorManager._actor_task_failed  # pyright: ignore[reportPrivateUsage]

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        original(self, tracked_actor_task=tracked_actor_task, exception=as_death(exception))

    RayActorManager._actor_task_failed = failed  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # pyright: ignore[reportPrivateUsage]


def as_death(exception: Exception) -> Exception:
    """Return an error as Tune is to see it."""
    if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
        return RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
    return exception
