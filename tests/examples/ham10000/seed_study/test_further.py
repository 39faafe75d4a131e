from seed_study import further
from seed_study.grid import sources


def _line(grid, name):
    (found,) = [line for line in grid.lines if line[0] == name]
    return found


def test_numbers_are_those_of_the_document(document):
    own = document["protocols"]["honest"]["rows"]
    own["rated"]["points"][0]["bpp_bytes"] = 0.123
    own["balanced_3x"]["report"]["by_class"]["df"]["recall"] = 0.77
    own["optics_learned"]["test"]["throughput"] = 0.61
    own["frozen_6x"]["points"][1]["bpp_bytes"] = 2.5
    column = sources(document)[1]
    assert "0.123" in further.rates(column).text()
    assert "-0.020 [-0.050, +0.010]" in further.rates(column).text()
    assert _line(further.remedies(column), "trained with adjusted logits")[1] == "0.77"
    assert _line(further.optics(column), "300 photons, learned filter")[1] == "0.61"
    bits = _line(further.bits(column), "6X frozen, 4 bit latent")
    assert bits[1:3] == ("2.50", "9.60x")
    assert further.contrasts(column).lines == ()  # the invented document has none


def test_optimal_images_are_told_by_how_far_they_climb(document):
    best = {"start": -1.0, "reached": 7.25, "probability": 0.995}
    found = document["protocols"]["seed"]
    found["analyses"] = {"optimal": {f"joint_{w}": {"nv": best} for w in ("6x", "3x", "1.5x")}}
    seed, honest = sources(document)
    made = further.optimal(seed)
    assert made.head == ("class", "joint 6X", "joint 3X", "joint 1.5X")
    assert made.lines == (("nv", *3 * ("-1.0 to 7.2 (100 %)",)),)
    assert further.optimal(honest).lines == ()


def test_goals_and_claims_are_told_in_words(document):
    goals = further.reached(document)
    assert {line[-1] for line in goals.lines} <= {"met", "not met", "answered"}
    assert len(goals.lines) == len(document["goals"])
    assert goals.note == ""
    document["scale"]["pixels"] = 64
    assert further.reached(document).note.endswith("cannot decide whether they are met.")
    claims = further.claimed(document)
    assert len(claims.lines) == len(document["claims"])
    assert claims.lines[0][-1] == "not shown: there are too few pairs"
    assert len(further.inconsistencies().lines) == 8
