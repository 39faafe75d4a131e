"""What is the fault of a machine and says nothing of a run: a missing file, a full disk."""

import errno
import zipfile
from collections.abc import Callable

from classify import LesionDataset
from joint.config.run import RunConfig
from joint.config.scenes import DataConfig
from joint.saved.folder import RunFolder

__all__ = ["NoInput", "check_files", "loaded", "of_the_machine"]


class NoInput(OSError):
    """Scenes, weights or a teacher that this worker cannot read, of whatever run."""


def check_files(config: RunConfig, folder: RunFolder) -> None:
    """Refuse to begin a run without its files; one that goes on needs its teacher alone."""
    wanted = () if folder.has_checkpoint() else config.system.files()
    for path in (*wanted, config.teacher):
        if path is not None and not path.exists():
            raise NoInput(
                f"{path} is not there. This worker cannot read what the run begins with, of which "
                "nothing is said by the run: a path must lead to it from where each worker runs"
            )


def loaded(load: Callable[[DataConfig], LesionDataset], data: DataConfig) -> LesionDataset:
    """The scenes; where they are not there, or no zip is whole, that is no outcome of a run."""
    try:
        return load(data)
    except Exception as error:
        zip_cut_short = isinstance(error.__cause__, zipfile.BadZipFile)
        if not isinstance(error, OSError) and not zip_cut_short:
            raise
        raise NoInput(
            f"{error}. This worker cannot read the scenes, of which nothing is said by a run: a "
            "path must lead to them from where each worker runs"
        ) from error


# Of a disk, a network or a system that is out of files or room, as every other run would meet too.
_BROKEN = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM,
    errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ENOTCONN,
)  # fmt: skip


def of_the_machine(error: BaseException) -> bool:
    """Whether the machine is to blame, and not the run."""
    return any(
        isinstance(cause, NoInput) or (isinstance(cause, OSError) and cause.errno in _BROKEN)
        for cause in (error, error.__cause__)
    )
