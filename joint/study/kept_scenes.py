"""Data sets that many runs of a study share, built once."""

from classify import LesionDataset
from joint.config.scenes import DataConfig, build_data

__all__ = ["KeptScenes"]

_DATA_SETS = 2  # that are kept


class KeptScenes:
    """Data sets by their configuration: each is built once, and the last few are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, LesionDataset] = {}

    def __call__(self, config: DataConfig) -> LesionDataset:
        """The data set of a configuration."""
        key = config.model_dump_json()
        dataset = self._kept.pop(key) if key in self._kept else build_data(config)
        self._kept[key] = dataset  # the last one used is the last to go
        while len(self._kept) > _DATA_SETS:
            del self._kept[next(iter(self._kept))]
        return dataset
