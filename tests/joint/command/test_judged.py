import torch

import compress
import joint
from joint.command.judged import Judged


def test_a_number_of_the_report_is_printed_once(lesions):
    judge = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with_report = joint.evaluate(joint.ImagingSystem(classifier=judge), lesions, resamples=0)
    without = joint.evaluate(joint.ImagingSystem(codec=compress.JPEG(50)), lesions)
    assert without.report is None
    for result, told in (
        (with_report, ("accuracy", "balanced_accuracy", "macro_f1", "auc", "loss_total")),
        (without, ("loss_total",)),
    ):
        numbers = {n: v for n, v in result.scalars().items() if v is not None and n not in told}
        assert numbers
        text = str(Judged(result, None, None))
        report = "" if result.report is None else f"{result.report}\n\n"
        assert text == report + "\n".join(f"{n:<18} {v:.4f}" for n, v in numbers.items())
        assert numbers["loss"] == result.losses["total"]
    assert {*numbers} >= {"bpp", "psnr"}
