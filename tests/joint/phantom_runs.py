"""Short runs of small phantoms, as files of whole runs train them."""

import joint
from classify import LesionDataset


def config_of(epochs=1, **system):
    none = joint.NoneConfig()
    stages = {"front_end": none, "sensor": none, "codec": none, "classifier": none} | system
    labelled = "classifier" in system
    return joint.RunConfig(
        data=joint.PhantomConfig(count=70, image_size=16),
        split=joint.SplitConfig(fractions=(0.6, 0.2, 0.2)),
        system=joint.SystemConfig(**stages),
        objective=joint.Objective(task=float(labelled), distortion=float("codec" in system)),
        training=joint.Training(epochs=epochs),
    )


CODEC = {"codec": joint.AutoencoderConfig(latent_bits=4)}
CLASSIFIER = {"classifier": joint.ClassifierConfig()}
QUICK = {"resamples": 0, "progress": False}
"""For ``complete_run``: neither intervals nor bars."""


def renamed(dataset, classes):
    everything = dataset.gather(range(len(dataset)))
    return LesionDataset(
        images=everything.images,
        labels=everything.labels.clamp(max=len(classes) - 1),
        groups=dataset.groups,
        identifiers=dataset.identifiers,
        classes=classes,
    )
