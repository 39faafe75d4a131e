import json

from commands import run

import joint
from joint.picture.file import read_picture


def test_a_folder_there_and_back(coder, pictures, tmp_path, capsys):
    coded, out = tmp_path / "coded", tmp_path / "out"
    status, said, err = run(capsys, "compress", pictures, coded, "--codec", coder)
    assert (status, err) == (0, "")
    codec = joint.load_codec(coder)
    files = [
        codec.compress(read_picture(pictures / n))[0] for n in ("a.png", "b.bmp", "more/c.png")
    ]
    assert [(coded / f"{n}.l2l").read_bytes() for n in ("a", "b", "more/c")] == files
    size = sum(map(len, files))
    assert said.startswith(
        f"{coded}: 3 pictures, {size} bytes, {8 * size / (3 * 33 * 20):.4f} bits/pixel, PSNR "
    )
    assert said.endswith("dB on average\n1 file skipped\n")
    status, said, err = run(capsys, "decompress", coded, out, "--codec", coder)
    assert (status, said, err) == (0, f"{out}: 3 pictures\n", "")
    expected = codec.decompress([files[2]])
    assert ((read_picture(out / "more" / "c.png") - expected).abs() < 0.51 / 255).all()
    status, _, err = run(capsys, "decompress", coded, out, "--codec", coder)
    assert status == 1
    assert err.startswith("lens2label: 3 files would be replaced")
    assert run(capsys, "decompress", coded, out, "--codec", coder, "--overwrite")[0] == 0


def test_what_failed_is_named_at_the_end_and_in_the_status(coder, pictures, tmp_path, capsys):
    (pictures / "0.png").write_text("words")
    given = ("compress", pictures / "0.png", pictures / "a.png", tmp_path / "coded")
    status, said, err = run(capsys, *given, "--codec", coder)
    assert status == 1
    assert said.startswith(f"{tmp_path / 'coded'}: 1 picture, ")
    assert err.startswith(
        "lens2label: 1 of 2 files could not be used:\n"
        f"  {pictures / '0.png'} is not a picture that can be read"
    )
    status, said, err = run(capsys, *given, "--codec", coder, "--overwrite", "--json")
    assert status == 1
    told = json.loads(said)
    assert [file["path"] for file in told["failed"]] == [str(pictures / "0.png")]
    assert told["pictures"][0]["path"] == str(tmp_path / "coded" / "a.l2l")
    (tmp_path / "coded" / "a.l2l").write_bytes(b"")
    status, said, err = run(
        capsys, "decompress", tmp_path / "coded", tmp_path / "out", "--codec", coder, "--json"
    )
    assert status == 1
    assert json.loads(said)["pictures"] == []
    assert f"\n  {tmp_path / 'coded' / 'a.l2l'}: " in err
