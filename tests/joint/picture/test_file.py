import json
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from small import identity

import compress
import joint
import optics
from classify.data.decode import Decoder
from joint.cli import main
from joint.config.codecs import CODEC_KINDS
from joint.picture.file import as_coded, picture_for, read_picture, write_picture


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "run"
    arguments = [
        "train", "--output", folder, "--quiet", "--codec", "hyperprior", "--classifier", "none",
        "--front-end", "none", "--sensor", "none", "--system.codec.levels", "3",
        "--data.count", "60", "--data.image-size", "32", "--training.epochs", "1",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def picture(tmp_path):
    values = np.indices((45, 37, 3)).sum(0).astype(np.uint8) * 2
    Image.fromarray(values).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def _run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_there_and_back_through_the_command_line(run, picture, tmp_path, capsys):
    file, out = tmp_path / "a.l2l", tmp_path / "out.png"
    status, said, _ = _run(capsys, "compress", picture, file, "--codec", run, "--json")
    assert status == 0
    told = json.loads(said)
    assert told["size"] == file.stat().st_size
    assert told["bpp"] == pytest.approx(8 * told["size"] / (45 * 37))
    status, said, _ = _run(capsys, "decompress", file, out, "--codec", run)
    assert (status, said) == (0, f"{out}: 45x37 pixels\n")
    codec = joint.load_codec(run)
    expected = codec(read_picture(picture)).reconstruction
    decoded = read_picture(out)
    assert torch.equal(decoded, (255 * expected).round() / 255)
    assert told["psnr"] == pytest.approx(float(compress.psnr(decoded, read_picture(picture))))
    for quality in ("0", "2"):
        status, said, _ = _run(
            capsys, "compress", picture, tmp_path / quality, "--codec", run, "--quality", quality
        )
        assert status == 0
        assert f"{tmp_path / quality}: " in said
        assert "bits/pixel (45x37), PSNR" in said
    sizes = [(tmp_path / name).stat().st_size for name in ("0", "a.l2l", "2")]
    assert sizes == sorted(sizes)


def test_a_codec_of_linear_light_is_given_light(run, picture, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "linear")
    config = json.loads((run / "config.json").read_text())
    config["system"]["encoding"] = "linear"
    (tmp_path / "linear" / "config.json").write_text(json.dumps(config))
    file, out = tmp_path / "a.l2l", tmp_path / "out.png"
    status, said, err = _run(
        capsys, "compress", picture, file, "--codec", tmp_path / "linear", "--json"
    )
    assert status == 0, err
    codec = joint.load_codec(run)
    codes = read_picture(picture)
    light = optics.srgb_to_linear(codes)
    (coded,) = codec.compress(light)
    assert file.read_bytes() == b"LIN\0" + coded
    assert _run(capsys, "decompress", file, out, "--codec", tmp_path / "linear")[0] == 0
    expected = optics.linear_to_srgb(codec.decompress([coded]).clamp(0, 1))
    decoded = read_picture(out)
    assert (decoded - expected).abs().max() < 0.51 / 255
    assert json.loads(said)["psnr"] == pytest.approx(float(compress.psnr(decoded, codes)), abs=1e-3)


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
@pytest.mark.parametrize("word", ["jpeg", "webp", "png", "kmeans"])
def test_a_file_says_by_itself_what_it_holds(word, encoding, picture, tmp_path, capsys):
    """Whatever names the codec: a run of linear light, or a word that knows of none."""
    file, out = tmp_path / "a.l2l", tmp_path / "out.png"
    codec = joint.build_codec(CODEC_KINDS[word](), None).eval()
    done = joint.compress_file(picture, file, codec, encoding=encoding)
    assert done.size == file.stat().st_size
    assert done.bpp == 8 * done.size / (45 * 37)
    assert _run(capsys, "decompress", file, out, "--codec", word)[0] == 0
    found = float(compress.psnr(read_picture(out), read_picture(picture)))
    assert found == (pytest.approx(done.psnr, abs=1e-3) if done.psnr else float("inf"))
    file.write_bytes(file.read_bytes()[2:])  # what is left of the mark is of no codec
    with pytest.raises(compress.CorruptStream, match=r"a\.l2l: "):
        joint.decompress_file(file, out, codec)


def test_a_codec_is_loaded_without_the_scenes(run, tmp_path):
    import shutil

    copied = tmp_path / "elsewhere"
    copied.mkdir()
    for name in ("config.json", "best.safetensors"):
        shutil.copy(run / name, copied / name)
    config = json.loads((copied / "config.json").read_text())
    config["data"] = {"kind": "ham10000", "root": "gone.zip"}
    (copied / "config.json").write_text(json.dumps(config))
    codec = joint.load_codec(copied)
    assert not codec.training
    assert codec.levels == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "truncated or damaged"),
        (lambda data: b"\x89PNG" + data, "not a file of this library"),
        (lambda data: b"", "truncated: 0 bytes"),
    ],
)
def test_a_damaged_file_is_named(run, picture, tmp_path, capsys, change, message):
    file, out = tmp_path / "a.l2l", tmp_path / "out.png"
    assert _run(capsys, "compress", picture, file, "--codec", run)[0] == 0
    file.write_bytes(change(file.read_bytes()))
    status, _, err = _run(capsys, "decompress", file, out, "--codec", run)
    assert status == 1
    assert err.startswith(f"lens2label: {file}: ")
    assert message in err
    assert not out.exists()


def test_mistakes_are_told_in_words(run, picture, tmp_path, capsys):
    def fails(*arguments):
        status, _, err = _run(capsys, *arguments)
        assert status == 1
        assert err.startswith("lens2label: ")
        return err

    target = tmp_path / "a.l2l"
    before = picture.read_bytes()
    told = fails("compress", picture, tmp_path / "." / "in.png", "--codec", run)
    assert "in.png is the source file itself: choose another target" in told
    assert picture.read_bytes() == before
    told = fails("compress", picture, tmp_path, "--codec", run)
    assert "is a folder: name a file in it" in told
    assert "gone.png" in fails("compress", tmp_path / "gone.png", target, "--codec", run)
    (tmp_path / "text.png").write_text("no picture")
    told = fails("compress", tmp_path / "text.png", target, "--codec", run)
    assert "text.png is not a picture that can be read" in told
    told = fails("compress", picture, target, "--codec", run, "--quality", "7")
    assert "quality must be 0 to 2" in told
    assert "config.json" in fails("compress", picture, target, "--codec", tmp_path)
    assert not target.exists()
    assert _run(capsys, "compress", picture, target, "--codec", run)[0] == 0
    told = fails("decompress", target, tmp_path / "out.jpg", "--codec", run)
    assert "out.jpg must end in one of .png, .bmp, .tif, .tiff" in told


def test_only_what_keeps_its_meaning_is_read(tmp_path):
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    grey = tmp_path / "grey.png"
    Image.fromarray(values).save(grey)
    assert torch.equal(read_picture(grey, channels=1)[0, 0], torch.from_numpy(values) / 255)
    assert read_picture(grey).shape == (1, 3, 8, 8)
    colour = tmp_path / "colour.png"
    Image.fromarray(np.stack([values] * 3, -1)).save(colour)
    with pytest.raises(ValueError, match="mode RGB; this codec takes grey pictures of 8 bits"):
        read_picture(colour, channels=1)
    clear = tmp_path / "clear.png"
    Image.fromarray(np.stack([values] * 4, -1)).save(clear)
    with pytest.raises(ValueError, match=r"clear.png has transparent parts.*: flatten it onto"):
        read_picture(clear)
    deep = tmp_path / "deep.png"
    Image.fromarray(values.astype(np.uint16) * 256).save(deep)
    with pytest.raises(
        ValueError, match=r"16-bit picture, .* convert it, with 255 \* code / white or, for"
    ):
        read_picture(deep)
    with pytest.raises(
        ValueError, match="1 or 3 channels can be read, not of 5: a codec with other"
    ):
        read_picture(grey, channels=5)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])  # RGB, RGBA, LA
def test_colour_of_16_bits_is_not_cut_to_8(tmp_path, kind, channels):
    # Pillow writes none.
    codes = np.full((4, 4 * channels), 0x01FF, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in codes)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    (tmp_path / "deep.png").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"16-bit picture, .* convert it, with 255 \* code / white or, for"
    ):
        read_picture(tmp_path / "deep.png")
    with pytest.raises(
        compress.CorruptStream, match="PNG of 16 bits, which this codec never writes"
    ):
        compress.PNG().decompress([content])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_that_lets_nothing_through_is_dropped(tmp_path, mode):
    values = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    plain = Image.fromarray(values)
    plain = plain.quantize(4) if mode == "P" else plain.convert(mode.removesuffix("A"))
    for alpha, opaque in ((255, True), (254, False)):
        picture, path = plain.copy(), tmp_path / f"{alpha}.png"
        if mode == "P":
            picture.save(path, transparency=bytes([255, 255, alpha]))
        else:
            plane = np.full((8, 8), 255, np.uint8)
            plane[1, 2] = alpha
            picture.putalpha(Image.fromarray(plane))
            picture.save(path)
        channels = 1 if mode == "LA" else 3
        if not opaque:
            with pytest.raises(ValueError, match=r"254\.png has transparent parts"):
                read_picture(path, channels=channels)
            continue
        expected = np.asarray(plain.convert("L" if mode == "LA" else "RGB")).reshape(8, 8, -1)
        found = read_picture(path, channels=channels)[0].movedim(0, -1)
        assert torch.equal(found, torch.from_numpy(expected / np.float32(255)))


def test_the_advice_for_linear_light_of_16_bits_gives_the_codec_that_light(tmp_path):
    white = 4095
    codes = np.random.default_rng(0).integers(0, white + 1, (8, 8, 3)).astype(np.uint16)
    light = torch.from_numpy(codes / white).movedim(-1, 0)[None]
    Image.fromarray(codes[..., 0]).save(tmp_path / "deep.png")
    advice = r"for linear light, 255 \* optics.linear_to_srgb\(code / white\)"
    with pytest.raises(ValueError, match=advice):
        read_picture(tmp_path / "deep.png")
    write_picture(tmp_path / "eight.png", optics.linear_to_srgb(light))
    given = as_coded(read_picture(tmp_path / "eight.png"), "linear")
    assert (given - light).abs().max() < 0.01  # half a code of 8 bits, where they are coarsest


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_a_picture_is_coded_as_predict_is_shown_it(tmp_path, mode):
    values = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    kind = "LAB" if mode == "LAB" else "RGB"
    picture = Image.fromarray(values, None if kind == "RGB" else kind)
    file = tmp_path / "a.tif"
    (picture if mode == "LAB" else picture.convert(mode)).save(file)
    with Image.open(file) as opened:
        assert opened.mode == mode
    shown = Decoder(image_size=16, progress=False).image(file.read_bytes()).codes
    assert torch.equal(read_picture(file)[0], torch.from_numpy(shown) / 255)


def test_of_the_several_pictures_of_a_phone_the_first_is_coded(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16, 3), k, np.uint8)) for k in (50, 200))
    file = tmp_path / "phone.jpg"
    first.save(file, "MPO", save_all=True, append_images=[second])
    with Image.open(file) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
    assert (255 * read_picture(file) - 50).abs().max() <= 1
    done = joint.compress_file(file, tmp_path / "a.png", compress.PNG())
    assert done.psnr is None


def test_pictures_come_back_as_they_were_written(tmp_path):
    image = torch.arange(2 * 3 * 4).view(1, 3, 2, 4) / 255
    for name in ("a.png", "a.bmp", "a.tif"):
        write_picture(tmp_path / name, image)
        assert torch.equal(read_picture(tmp_path / name), image)
    write_picture(tmp_path / "grey.png", image[:, :1])
    assert torch.equal(read_picture(tmp_path / "grey.png", channels=1), image[:, :1])
    with pytest.raises(ValueError, match=r"expected one picture \[1, 1 or 3, H, W\], got \[2, 3"):
        write_picture(tmp_path / "two.png", torch.zeros(2, 3, 4, 4))
    levels = torch.arange(256).view(1, 1, 16, 16).expand(-1, 3, -1, -1) / 255
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        write_picture(tmp_path / "b.png", levels.to(kind))
        expected = (255 * levels.to(kind).float()).round() / 255
        assert torch.equal(read_picture(tmp_path / "b.png"), expected)
    image[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"c\.png must be finite, got NaN"):
        write_picture(tmp_path / "c.png", image)


def test_a_tiff_of_signed_codes_is_refused(tmp_path):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for form, name in ((1, "unsigned.tif"), (2, "signed.tif")):
        grey.save(tmp_path / name, tiffinfo={339: form})
    assert read_picture(tmp_path / "unsigned.tif").shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"signed\.tif has signed codes"):
        read_picture(tmp_path / "signed.tif")


def test_a_net_that_decodes_to_nan_makes_no_file_and_no_picture(picture, tmp_path):
    codec = compress.Autoencoder(3).eval()
    with torch.no_grad():
        list(codec.synthesis.parameters())[-1].fill_(torch.nan)
        (data,) = codec.compress(read_picture(picture))
    with pytest.raises(ValueError, match=r"in\.png: Autoencoder decodes its file to values that"):
        joint.compress_file(picture, tmp_path / "a.l2l", codec)
    assert not (tmp_path / "a.l2l").exists()
    (tmp_path / "b.l2l").write_bytes(data)
    with pytest.raises(compress.CorruptStream, match=r"b\.l2l: .* are not finite: its training d"):
        joint.decompress_file(tmp_path / "b.l2l", tmp_path / "b.png", codec)
    assert not (tmp_path / "b.png").exists()


@pytest.fixture
def grey(tmp_path):
    noise = np.random.default_rng(0).integers(0, 40, (45, 37))
    values = (np.indices((45, 37)).sum(0) * 2 + noise).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


BOTH = {
    "jpeg": compress.JPEG,
    "differentiable_jpeg": compress.DifferentiableJPEG,
    "jpeg2000": compress.JPEG2000,
    "avif": compress.AVIF,
    "png": compress.PNG,
}


@pytest.mark.parametrize("kind", BOTH)
def test_grey_stays_grey_where_files_have_grey_and_colour(grey, picture, tmp_path, kind):
    codec, file, out = BOTH[kind](), tmp_path / "a.l2l", tmp_path / "out.png"
    done = joint.compress_file(grey, file, codec)
    image = read_picture(grey, channels=1)
    (expected,) = codec.compress(image)
    assert file.read_bytes() == expected
    joint.decompress_file(file, out, codec)
    with Image.open(out) as opened:
        assert opened.mode == "L"
    decoded = read_picture(out, channels=1)
    assert torch.equal(decoded, codec.decompress([expected]))
    assert done.psnr is None or done.psnr == pytest.approx(float(compress.psnr(decoded, image)))
    joint.compress_file(picture, file, codec)  # and colour in colour
    assert file.read_bytes() == codec.compress(read_picture(picture))[0]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGB"])
def test_what_is_grey_is_known_by_its_mode(grey, tmp_path, mode):
    with Image.open(grey) as opened:
        opened.convert(mode).save(tmp_path / "a.png")
    channels = 1 if mode in ("L", "1", "LA") else 3
    assert picture_for(compress.JPEG(), tmp_path / "a.png").shape == (1, channels, 45, 37)
    # Built for a number of channels, or by somebody who does not say.
    for codec in (compress.WebP(), compress.KMeansCodec(4), compress.FactorizedCodec()):
        assert picture_for(codec, tmp_path / "a.png").shape[1] == 3
    assert picture_for(torch.nn.Identity(), tmp_path / "a.png").shape[1] == 3


def _trained_on(folder, kind, said):
    """The folder of a run with a codec that has nothing to learn."""
    folder.mkdir()
    none = joint.NoneConfig()
    config = joint.RunConfig(
        system=joint.SystemConfig(
            front_end=none, sensor=none, classifier=none, codec=CODEC_KINDS[kind]()
        ),
        objective=joint.Objective(task=0, distortion=1),
        training=joint.Training(monitor="loss"),
    )
    joint.save_config(config, folder)
    weights = joint.build_codec(config.system.codec, 3).state_dict()
    joint.save_checkpoint(
        folder / "best.safetensors",
        {f"codec.{name}": tensor for name, tensor in weights.items()},
        {"identity": identity(**said)},
    )
    return folder


@pytest.mark.parametrize("kind", BOTH)
def test_the_codec_of_a_run_takes_what_it_was_trained_on(grey, picture, tmp_path, capsys, kind):
    # The first is of a codec that had no channels to say, the second of a camera that makes one
    # channel of three.
    for name, said in (("grey", {"channels": 1}), ("mono", {"codec_channels": 1})):
        run = _trained_on(tmp_path / name, kind, said)
        codec, file, out = joint.load_codec(run), tmp_path / "a.l2l", tmp_path / "out.png"
        assert _run(capsys, "compress", grey, file, "--codec", run)[0] == 0
        assert file.read_bytes() == codec.compress(read_picture(grey, channels=1))[0]
        status, _, err = _run(capsys, "compress", picture, tmp_path / "no", "--codec", run)
        assert status == 1
        assert "mode RGB; this codec takes grey pictures of 8 bits" in err
        file.write_bytes(codec.compress(read_picture(grey))[0])  # as versions before wrote it
        assert _run(capsys, "decompress", file, out, "--codec", run)[0] == 0
        assert torch.equal(read_picture(out), codec.decompress([file.read_bytes()]))
    colour = _trained_on(tmp_path / "colour", kind, {})
    codec = joint.load_codec(colour)
    for source in (grey, picture):
        joint.compress_file(source, tmp_path / "a.l2l", codec)
        assert (tmp_path / "a.l2l").read_bytes() == codec.compress(read_picture(source))[0]


def test_a_run_that_does_not_say_its_channels_takes_pictures_as_they_come(grey, tmp_path):
    bands = {"channels": 31}  # of which a camera made others
    codec = joint.load_codec(_trained_on(tmp_path / "bands", "jpeg", bands))
    assert picture_for(codec, grey).shape[1] == 1


def test_a_codec_without_qualities_refuses_one(picture, tmp_path):
    with pytest.raises(ValueError, match="PNG has no choice of qualities: leave quality out"):
        joint.compress_file(picture, tmp_path / "a", compress.PNG(), quality=50)
    done = joint.compress_file(picture, tmp_path / "a.png", compress.PNG())
    assert done.psnr is None
    assert "lossless" in str(done)


def test_of_a_picture_that_fails_no_file_is_left(picture, tmp_path):
    class Smaller(compress.PNG):
        def decompress(self, payloads):
            return super().decompress(payloads)[..., 1:, 1:]

    with pytest.raises(ValueError, match="shape"):
        joint.compress_file(picture, tmp_path / "a", Smaller())
    assert not (tmp_path / "a").exists()


def test_a_picture_is_read_as_viewers_show_it(tmp_path):
    values = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    read = read_picture(tmp_path / "turned.png")
    assert read.shape == (1, 3, 4, 6)
    expected = torch.from_numpy(np.rot90(values, -1).copy()).movedim(-1, 0) / 255
    assert torch.equal(read[0], expected)
    frames = [Image.fromarray(np.full((8, 8), k, np.uint8)) for k in (0, 100)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"two\.gif: it holds 2 frames, and one is coded"):
        read_picture(tmp_path / "two.gif")


def test_the_quality_of_the_callers_codec_stays(picture, tmp_path):
    codec = compress.FactorizedCodec(levels=3).eval()
    codec.quality = 1
    joint.compress_file(picture, tmp_path / "a", codec, quality=2)
    assert codec.quality == 1


def test_a_format_with_a_quality_takes_another(picture, tmp_path):
    codec = compress.JPEG(80)
    joint.compress_file(picture, tmp_path / "a", codec, quality=30.0)
    assert (tmp_path / "a").read_bytes() == compress.JPEG(30).compress(read_picture(picture))[0]
    assert codec.quality == 80
    for quality in (0, 101, 30.5, float("nan")):
        with pytest.raises(ValueError, match="quality of JPEG must be a whole number, 1 to 100, g"):
            joint.compress_file(picture, tmp_path / "b", codec, quality=quality)
    with pytest.raises(ValueError, match="quality of WebP must be a whole number, 0 to 100, got -"):
        joint.compress_file(picture, tmp_path / "b", compress.WebP(), quality=-1)
    with pytest.raises(ValueError, match="WebP has no choice of qualities: leave quality out"):
        joint.compress_file(picture, tmp_path / "b", compress.WebP(lossless=True), quality=50)
    assert not (tmp_path / "b").exists()


def test_black_and_white_pixmaps_are_read(tmp_path):
    (tmp_path / "plain.pbm").write_bytes(b"P1\n3 2\n0 1 0\n1 1 0\n")
    (tmp_path / "packed.pbm").write_bytes(b"P4\n3 2\n\x40\xc0")
    expected = torch.tensor([[1.0, 0, 1], [0, 0, 1]]).expand(1, 3, 2, 3)
    for name in ("plain.pbm", "packed.pbm"):
        torch.testing.assert_close(read_picture(tmp_path / name), expected)


@pytest.mark.parametrize(("kind", "white"), [("P6", 65535), ("P6", 1023), ("P3", 4095)])
def test_a_ppm_of_sixteen_bits_is_refused_as_a_png_is(tmp_path, kind, white):
    path, codes = tmp_path / "a.ppm", np.arange(48).reshape(4, 4, 3) * (white // 48)
    text = " ".join(map(str, codes.reshape(-1))).encode()
    body = text if kind == "P3" else codes.astype(">u2").tobytes()
    path.write_bytes(f"{kind}\n4 4\n{white}\n".encode() + body)
    with pytest.raises(ValueError, match=r"16-bit picture, .* convert it, with 255"):
        read_picture(path)
