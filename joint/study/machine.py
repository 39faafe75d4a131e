"""Failures of a machine, which say nothing about a run: a missing file, a full disk."""

import errno
import zipfile
from collections.abc import Callable

from classify import LesionDataset
from joint.config.run import RunConfig
from joint.config.scenes import DataConfig
from joint.saved.folder import RunFolder

__all__ = ["NoInput", "check_files", "loaded", "of_the_machine"]


class NoInput(OSError):
    """Scenes, weights or a teacher that this worker cannot read, for any run."""


def check_files(config: RunConfig, folder: RunFolder) -> None:
    """Refuse to begin a run without its files; a run that continues needs only its teacher."""
    wanted = () if folder.has_checkpoint() else config.system.files()
    for path in (*wanted, config.teacher):
        if path is not None and not path.exists():
            raise NoInput(
                f"{path} is not there. This worker cannot read a file that the run starts from, "
                "which is no fault of the run: the path must be valid on the machine of each worker"
            )


def loaded(load: Callable[[DataConfig], LesionDataset], data: DataConfig) -> LesionDataset:
    """The scenes; missing scenes, or a damaged zip, are not an outcome of a run."""
    try:
        return load(data)
    except Exception as error:
        zip_cut_short = isinstance(error.__cause__, zipfile.BadZipFile)
        if not isinstance(error, OSError) and not zip_cut_short:
            raise
        raise NoInput(
            f"{error}. This worker cannot read the scenes, which is no fault of a run: the path "
            "must be valid on the machine of each worker"
        ) from error


# Errors of a disk, a network, or a system without files or room, which any other run would meet.
_BROKEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
    errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ENOTCONN,
)  # fmt: skip


def of_the_machine(error: BaseException) -> bool:
    """Whether an error is the fault of the machine, and not of the run."""
    return any(
        isinstance(cause, NoInput) or (isinstance(cause, OSError) and cause.errno in _BROKEN)
        for cause in (error, error.__cause__)
    )
