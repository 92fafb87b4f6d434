"""The errors a user can meet, each with the exit code of the command that meets it.

A message says what was given, what is allowed and what to do. Anything that is not a
`RaytrainError` is a bug of ours and ends with exit code 1 and a traceback.
"""

from typing import ClassVar


class RaytrainError(Exception):
    """Base of every error that raytrain raises on purpose."""

    exit_code: ClassVar[int] = 1


class ExperimentError(RaytrainError):
    """An experiment, a recipe, an override or an option is invalid."""

    exit_code: ClassVar[int] = 2


class DataError(RaytrainError):
    """A data set is neither a known name nor a usable path, or its content is not as it must be."""

    exit_code: ClassVar[int] = 2


class RunFolderError(RaytrainError):
    """A run folder is missing, unreadable, or holds another experiment than the one asked for."""

    exit_code: ClassVar[int] = 2


class ModelError(RaytrainError):
    """A file of weights or its description is missing, damaged, or of something else."""

    exit_code: ClassVar[int] = 2


class JobError(RaytrainError):
    """A job on a cluster is not there, its name is taken, or it left nothing to fetch."""

    exit_code: ClassVar[int] = 2


class PreflightError(RaytrainError):
    """The run cannot be scheduled, stored or fed, and nothing was started."""

    exit_code: ClassVar[int] = 3


class StorageError(RaytrainError, OSError):
    """A run cannot be written any longer: its disk is full, or its storage does not answer.

    An OSError too: who asks whether a place can be written handles both alike.
    """

    exit_code: ClassVar[int] = 3


class ClusterError(RaytrainError):
    """The Ray cluster is unreachable, refused us, or runs other versions."""

    exit_code: ClassVar[int] = 6


class RayLostError(ClusterError):
    """Ray has gone while trials ran. Whoever asks it for anything more, as its own exit handlers do, waits in vain."""


class DivergenceError(RaytrainError):
    """The loss of a training run is no longer finite: a result of that recipe, not a fault.

    Attributes:
        epoch: The epoch, counted from 1, in which it happened.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the training loss is not finite in epoch {epoch}")
        self.epoch = epoch
