"""Tables of what the study left for others: bits, optics, rare classes, contrast, goals."""

from collections.abc import Mapping
from typing import Any

from .grid import Grid, Source, grid, interval, number, signed
from .published import REPORTS, faults


def is_honest(column: Source) -> bool:
    """Whether a column is of the protocol that has these rows."""
    return column.label.endswith("honest")


def bits(column: Source) -> Grid:
    """What the names of the widths are in bits: files, and what the classifier makes of them."""
    lines = []
    for width in ("6x", "3x", "1.5x"):
        for kind in ("frozen", "joint"):
            found = column.row(f"{kind}_{width}")
            if found is None:
                continue
            points = [{"label": "float latent", **found["test"]}, *found["points"]]
            for point in points:
                bpp = point["bpp_bytes"]
                lines.append(
                    [
                        f"{width.upper()} {kind}, {point['label']}",
                        f"{bpp:.2f}",
                        f"{24 / bpp:.2f}x",
                        f"{point['psnr']:.1f}",
                        f"{point['accuracy']:.3f}",
                    ]
                )
    head = ["", "bits per pixel", "smaller than RGB by", "PSNR, dB", "accuracy"]
    return grid(f"Bits instead of 6X, 3X, 1.5X ({column.label})", head, lines)


def architectures(column: Source) -> Grid:
    """Classifiers alone, by their nets."""
    labels = {
        "classifier": "of the study",
        "classifier_random": "of the study, without phantoms first",
    }
    lines = []
    for name, found in ({} if column.found is None else column.found["rows"]).items():
        if name == "classifier" or name.startswith("classifier_"):
            label = labels.get(name, name.removeprefix("classifier_"))
            test, chosen = found["test"], found["adjusted"]
            cells = [test["accuracy"], test["macro_f1"], test["auc"], chosen["balanced_accuracy"]]
            lines.append([label, str(found["epochs"]), *(f"{value:.3f}" for value in cells)])
    head = ["net", "epochs", "accuracy", "macro F1", "AUC", "balanced accuracy, tau chosen"]
    return grid(f"Other classifiers ({column.label})", head, lines)


def remedies(column: Source) -> Grid:
    """Recall of the classes that the study lost, before and after."""
    lines = []
    for name, key, label in (
        ("joint_3x", "report", "joint 3X as trained"),
        ("joint_3x", "adjusted", "with tau chosen on validation"),
        ("balanced_3x", "report", "trained with adjusted logits"),
    ):
        found = column.row(name)
        if found is None:
            continue
        report = found[key]
        accuracy = found["test"]["accuracy"] if key == "report" else report["accuracy"]
        wanted = [report["by_class"][c]["recall"] for c in ("df", "akiec", "mel")]
        lines.append([label, *(f"{value:.2f}" for value in wanted), f"{accuracy:.3f}"])
    published = [REPORTS[14].rows[n].recall for n in ("DF", "AK", "MEL")]
    cells = [*(f"{value:.2f}" for value in published), f"{REPORTS[14].accuracy:.2f}"]
    lines.insert(0, ["published (table 14)", *cells])
    head = ["recall", "DF", "AK", "MEL", "accuracy"]
    return grid(f"Rare classes ({column.label})", head, lines)


def rates(column: Source) -> Grid:
    """Measured bits: the learned codec and JPEG, each with a classifier behind it."""
    lines = []
    found = column.row("classifier")
    if found is not None:
        chosen = found["adjusted"]["balanced_accuracy"]
        accuracy = found["test"]["accuracy"]
        lines.append(["raw pictures", "24.000", "", f"{accuracy:.3f}", f"{chosen:.3f}", ""])
    gaps = ((column.found or {}).get("analyses") or {}).get("rated") or {}
    for name, label in (
        ("rated", "learned, trained jointly"),
        ("jpeg_frozen", "JPEG, classifier of raw pictures"),
        ("jpeg_joint", "JPEG, classifier trained on it"),
    ):
        row = column.row(name)
        for point in [] if row is None else row["points"]:
            gap = gaps.get(point["label"]) if name == "rated" else None
            lines.append(
                [
                    f"{label}, {point['label']}",
                    f"{point['bpp_bytes']:.3f}",
                    f"{point['psnr']:.1f}",
                    f"{point['accuracy']:.3f}",
                    f"{point['adjusted_balanced_accuracy']:.3f}",
                    "" if gap is None else signed(gap["difference"], gap["interval"]),
                ]
            )
    head = ["", "bits per pixel", "PSNR, dB", "accuracy", "balanced accuracy", "less that of raw"]
    return grid(f"Bits of files, headers included ({column.label})", head, lines)


def optics(column: Source) -> Grid:
    """The physical edge filter and its rivals."""
    lines = []
    for name, label in (
        ("joint_3x", "joint 3X, no sensor"),
        ("optics_none", "300 photons, no filter"),
        ("optics_laplacian", "300 photons, fixed Laplacian"),
        ("optics_unsharp", "300 photons, fixed unsharp"),
        ("optics_learned", "300 photons, learned filter"),
    ):
        found = column.row(name)
        if found is None:
            continue
        test, chosen = found["test"], found["adjusted"]
        light = test.get("throughput")
        lines.append(
            [
                label,
                "" if light is None else f"{light:.2f}",
                f"{test['accuracy']:.3f} {interval(found['report']['intervals']['accuracy'])}",
                f"{chosen['balanced_accuracy']:.3f} "
                f"{interval(chosen['intervals']['balanced_accuracy'])}",
            ]
        )
    head = ["front of joint 3X", "light kept", "accuracy", "balanced accuracy, tau chosen"]
    return grid(f"A physical edge filter in front ({column.label})", head, lines)


def contrasts(column: Source) -> Grid:
    """Contrast of each class, of the scene and of what the joint models hand on."""
    found = ((column.found or {}).get("analyses") or {}).get("contrast")
    if found is None:
        return grid(f"Contrast ({column.label})", ["class"], [])
    medians = found["medians"]
    first = next(iter(medians.values()))
    lines = []
    for k, each in enumerate(first["classes"]):
        cells = [table["classes"][k]["median"] for table in medians.values()]
        lines.append([each["name"], *(number(cell, 2) for cell in cells)])
    effect = found["correctness"]
    slopes = [effect[name] for name in ("ignoring_class", "within_class")]
    shown = [signed(slope["slope"], slope["interval"]) for slope in slopes]
    strata = found["strata"]
    correlation = found["confusion"]
    note = (
        f"Log-odds of a correct label per standard deviation of contrast ({found['of']}): "
        f"{shown[0]} ignoring class, {shown[1]} within class. Accuracy of the highest third of "
        "each class minus that of the lowest: "
        f"{signed(strata['difference'], strata['interval'])}. Rank "
        "correlation of two classes' distance in contrast and their confusion: "
        f"{signed(correlation['spearman'], correlation['interval'])}."
    )
    names = [name.replace("joint_", "after ").replace("x", "X") for name in medians]
    return grid(
        f"Contrast: median gCNR of the test part ({column.label})", ["class", *names], lines, note
    )


def optimal(column: Source) -> Grid:
    """How far each class can be driven, from grey, through each joint model."""
    found = ((column.found or {}).get("analyses") or {}).get("optimal") or {}
    names = list(next(iter(found.values()), {}))
    lines = [
        [
            name,
            *(
                f"{each[name]['start']:.1f} to {each[name]['reached']:.1f} "
                f"({100 * each[name]['probability']:.0f} %)"
                for each in found.values()
            ),
        ]
        for name in names
    ]
    head = ["class", *(name.replace("joint_", "joint ").replace("x", "X") for name in found)]
    return grid(
        f"Optimal images: logit less roughness, from grey to the best (probability; "
        f"{column.label})",
        head,
        lines,
    )


def claimed(document: Mapping[str, Any], label: str = "") -> Grid:
    """The planned comparisons."""
    lines = []
    for claim in document["claims"]:
        gap = claim["gap"]
        lines.append(
            [
                claim["name"],
                claim["metric"].replace("_", " "),
                signed(gap["value"], gap["interval"]),
                f"{gap['seeds']}, {gap['unit']}",
                claim["verdict"],
            ]
        )
    head = ["planned comparison", "of", "difference", "seeds, interval over", "verdict"]
    return grid(f"Claims{label}", head, lines)


def reached(document: Mapping[str, Any], label: str = "") -> Grid:
    """The goals, met or not."""
    words = {True: "met", False: "not met", None: "answered"}
    lines = []
    for goal in document["goals"]:
        value = goal["value"]
        found = "none" if value is None else f"{value:.3f}"
        if "less" in goal["what"] and value is not None:
            found = f"{value:+.3f}"
        shown = f"{found} {interval(goal['interval'])}".strip()
        seeds = str(goal["seeds"])
        lines.append([goal["what"], goal["seed"], goal["goal"], shown, seeds, words[goal["met"]]])
    head = ["quantity", "the seed", "goal", "found", "seeds", ""]
    scale = document["scale"]
    note = ""
    if scale["pixels"] < 128 or scale["limit"] is not None:
        note = (
            "The goals are for 128 pixels, all pictures and several seeds: a smaller run cannot "
            "decide whether they are met."
        )
    return grid(f"Goals{label}", head, lines, note)


def inconsistencies() -> Grid:
    """Where the study contradicts itself."""
    lines = [[fault.where, fault.what] for fault in faults()]
    return grid("Where the study contradicts itself", ["where", "what"], lines)
