import json

import pytest
import torch
from commands import MISTAKE, OPTION, run

import classify
import joint
from joint.deploy.decision import save_rule


def test_export_writes_a_graph_with_the_names_of_the_classes(trained, tmp_path, capsys):
    graph = tmp_path / "new" / "graph.pt2"
    # The codec of the run is JPEG, which is no graph.
    status, _, err = run(capsys, "export", trained, graph)
    assert status == MISTAKE
    assert "JPEG computes outside of torch: export the part behind it, plane='handed'" in err
    asked = ["export", trained, graph, "--plane", "handed", "--pictures", "3"]
    status, out, err = run(capsys, *asked)
    assert status == 0, err
    assert out.startswith(f"wrote {graph}, ")
    assert "handed [pictures, 3, 32, 32] to scores [pictures, classes] (akiec, bcc, " in out
    status, out, err = run(capsys, *asked, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["shape"] == [3, 32, 32]
    assert (told["path"], told["size"]) == (str(graph), graph.stat().st_size)
    _, system, parts = joint.load_run(trained)
    pictures = parts.test.gather(torch.arange(2)).images / 255
    with torch.no_grad():
        wanted = system.eval().classifier(pictures)
        found = torch.export.load(graph).module()(pictures)
    torch.testing.assert_close(found, wanted)
    status, _, err = run(capsys, *asked, "--quality", "0.5")
    assert status == MISTAKE
    assert "the quality of JPEG must be a whole number, 1 to 100, got 0.5" in err
    status, _, err = run(capsys, *asked[:-1], "0")
    assert (status, err) == (OPTION, "lens2label: --pictures must be at least 1, not 0\n")


@pytest.mark.filterwarnings("always::UserWarning")  # they are looked for
def test_export_writes_the_probabilities_of_a_rule(trained, tmp_path, capsys):
    graph, kept = tmp_path / "graph.pt2", tmp_path / "rule.json"
    config, system, parts = joint.load_run(trained)
    classes = parts.test.classes
    rule = classify.DecisionRule(
        classes, 3.0, range(len(classes)), fitted={"run": config.digest(), "views": "identity"}
    )
    save_rule(kept, rule)
    asked = ["export", trained, graph, "--plane", "handed", "--pictures", "2", "--rule", kept]
    status, _, err = run(capsys, *asked)
    assert (status, err) == (
        OPTION,
        "lens2label: --rule turns scores into probabilities: give --until probabilities\n",
    )
    status, _, err = run(capsys, *asked, "--until", "probabilities")
    assert (status, err) == (0, "")
    pictures = parts.test.gather(torch.arange(2)).images / 255
    with torch.no_grad():
        wanted = rule.probabilities(system.eval().classifier(pictures))
        torch.testing.assert_close(torch.export.load(graph).module()(pictures), wanted)
    save_rule(kept, classify.DecisionRule(classes[::-1]))
    status, _, err = run(capsys, *asked, "--until", "probabilities")
    assert status == MISTAKE
    assert f"the rule has the classes {', '.join(classes[::-1])}, in this order" in err
    save_rule(kept, classify.DecisionRule(classes, fitted={"views": "mirror"}))
    _, _, err = run(capsys, *asked, "--until", "probabilities")
    assert "chosen under other conditions (views mirror, not identity)" in err
