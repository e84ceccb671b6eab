import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deepscan import cli
from deepscan.datasets.audit import SEVERITIES, _remedy, audit
from deepscan.datasets.examine import Seen, examine, look
from deepscan.datasets.layout import digest, scan
from deepscan.datasets.repeats import Pair, pairs
from deepscan.media.headers import describe
from deepscan.media.source import Media
from tests.material import Clip, encoded, shared, tone
from tests.media.test_fingerprints import murmur, scene
from tests.sounds import wav


def table(tmp_path, rows):
    """A manifest of empty files: name -> (label, split, source)."""
    lines = ["path,label,split,source"]
    for name, row in rows.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        lines.append(",".join((name, *row)))
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(lines))
    return scan(tmp_path / "set")


def seen(sha, bits=None):
    return Seen(kind="k", sha256=sha, bits=None if bits is None else np.asarray(bits, bool))


BITS = np.random.default_rng(0).random((4, 200)) < 0.5


def found(manifest, *looks):
    result = audit(manifest, looks, np.random.default_rng(0))
    return {finding.kind: finding for finding in result.findings}


def test_pairs_are_equal_bytes_and_near_copies_of_one_kind():
    near = BITS[0].copy()
    near[:20] ^= True
    far = BITS[0].copy()
    far[-30:] ^= True
    looks = [seen("a", BITS[0]), seen("b", near), seen("a", BITS[0]), seen("c", far), seen("d", BITS[1])]
    assert pairs(looks) == [Pair(first=0, second=2, exact=True), Pair(first=0, second=1, exact=False)]
    other = [looks[0], dataclasses.replace(looks[1], kind="other"), seen("e"), Seen(problem="broken")]
    assert pairs(other) == []


@pytest.mark.parametrize(
    ("first", "second", "exact", "severity", "kind"),
    [
        (("0", "train", "s"), ("1", "train", "s"), True, "error", "same file, both labels"),
        (("0", "train", "s"), ("0", "test", "t"), True, "error", "same file, two splits"),
        (("0", "train", "s"), ("0", "train", "s"), True, "note", "same file twice"),
        (("0", "", "s"), ("0", "", "t"), True, "warning", "copy, two sources"),
        (("0", "train", "s"), ("0", "test", "t"), False, "error", "near-copy, two splits"),
        (("0", "train", "s"), ("1", "train", "t"), False, "warning", "near-copy, both labels"),
        (("0", "train", "s"), ("0", "train", "t"), False, "warning", "copy, two sources"),
    ],
)
def test_the_same_content_twice(tmp_path, first, second, exact, severity, kind):
    manifest = table(tmp_path, {"x/1.bin": first, "x/2.bin": second})
    findings = found(manifest, seen("a", BITS[0]), seen("a" if exact else "b", BITS[0]))
    assert {name for name in findings if "cop" in name or "same" in name} == {kind}
    assert findings[kind].severity == severity
    assert findings[kind].what.startswith("1 pair of files ")
    assert findings[kind].files == (f"{tmp_path}/set/x/1.bin = {tmp_path}/set/x/2.bin",)


def test_a_fake_that_looks_like_its_original_is_as_it_should_be(tmp_path):
    manifest = table(tmp_path, {"x/1.bin": ("0", "train", "s"), "x/2.bin": ("1", "train", "s")})
    assert found(manifest, seen("a", BITS[0]), seen("b", BITS[0])) == {}


def test_a_source_in_two_splits_is_an_error(tmp_path):
    rows = {
        f"x/{n}.bin": (str(n % 2), split, "s") for n, split in enumerate(("train", "train", "test", "test"))
    }
    finding = found(table(tmp_path, rows), *map(seen, "abcd"))["source in two splits"]
    assert (finding.severity, finding.what, finding.files) == (
        "error",
        "1 of 1 sources are in more than one split.",
        ("s",),
    )


def test_a_split_of_one_class_is_an_error_and_uneven_classes_a_note(tmp_path):
    rows = {"x/0.bin": ("1", "test", "a"), "x/1.bin": ("0", "train", "b")}
    rows |= {f"x/2{n}.bin": ("1", "train", f"c{n}") for n in range(6)}
    findings = found(table(tmp_path, rows), *map(seen, "abcdefgh"))
    assert findings["one class only"].what == "The split test has 0 real and 1 fake files."
    assert findings["uneven classes"].what == "The split train has 1 real and 6 fake files."
    assert [findings[kind].severity for kind in ("one class only", "uneven classes")] == ["error", "note"]


def test_a_name_that_contradicts_its_label_is_told(tmp_path):
    rows = {
        "real/a.bin": ("1", "", "a"),
        "fake/b.bin": ("1", "", "b"),
        "real/fake_c.bin": ("1", "", "c"),
        "other/synthetic-d.bin": ("0", "", "d"),
        "surreal/e.bin": ("1", "", "e"),
    }
    finding = found(table(tmp_path, rows), *map(seen, "abcde"))["name against label"]
    assert finding.files == (f"{tmp_path}/set/other/synthetic-d.bin", f"{tmp_path}/set/real/a.bin")


def test_unreadable_files_are_counted_with_their_reason(tmp_path):
    manifest = table(tmp_path, {"x/1.bin": ("0", "", "a"), "x/2.bin": ("1", "", "b")})
    result = audit(manifest, [seen("a"), Seen(problem="CorruptMediaError: bad")], np.random.default_rng(0))
    assert result.unreadable == 1
    (finding,) = (finding for finding in result.findings if finding.kind == "unreadable")
    assert finding.files == (f"{tmp_path}/set/x/2.bin: CorruptMediaError: bad",)


def test_counts_tell_files_and_sources_of_each_generator(tmp_path):
    (tmp_path / "m.csv").write_text(
        "path,label,split,source,generator\na,0,train,s,\nb,1,train,s,G\nc,1,train,t,G\nd,1,test,u,H\n"
    )
    for name in "abcd":
        (tmp_path / name).write_bytes(b"x")
    manifest = scan(tmp_path / "m.csv")
    result = audit(manifest, [*map(seen, "abcd")], np.random.default_rng(0))
    counts = [dataclasses.astuple(count) for count in result.counts]
    assert counts == [("test", "fake", "H", 1, 1), ("train", "real", "", 1, 1), ("train", "fake", "G", 2, 2)]
    assert (result.files, result.digest) == (4, digest(manifest))


def test_there_is_a_remedy_for_every_measure():
    data = [encoded(scene(0), "JPEG"), encoded(scene(0)), Clip(sound_N=tone(16_000, 2.0)).encoded()]
    names = {name for each in data for name in describe(Media.from_bytes(each, "x"))}
    assert len({_remedy(name) for name in names}) == 7
    assert all(_remedy(name).endswith(".") for name in names)


def test_a_file_that_cannot_be_read_is_a_problem_and_no_error(tmp_path):
    (tmp_path / "half.png").write_bytes(encoded(scene(0))[:400])
    (tmp_path / "text.txt").write_text("nothing")
    paths = [str(tmp_path / name) for name in ("half.png", "text.txt", "absent.png")]
    calls = []
    problems = [each.problem for each in examine(paths, advance=lambda *c: calls.append(c))]
    assert [text.split(":")[0] for text in problems] == [
        "CorruptMediaError",
        "UnsupportedMediaError",
        "MediaError",
    ]
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_look_at_a_sound_has_measures_and_a_fingerprint(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(murmur(0)))
    one = look(tmp_path / "a.wav")
    assert (one.kind, one.problem, one.measures["sample_rate_hz"]) == ("audio", "", 16_000)
    assert one.bits is not None


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dishonest(tmp_path_factory):
    """Pictures whose fakes are PNG while the real ones are JPEG; one file is twice, one a near-copy."""
    root = tmp_path_factory.mktemp("dishonest")
    for split in ("train", "test"):
        for number in range(14):
            seed = number + 100 * (split == "test")
            for label, container in (("real", "JPEG"), ("fake", "PNG")):
                path = root / split / label / f"{seed}.{container.lower()}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(scene(2 * seed + (label == "fake"), 64), container))
    (root / "test/real/copy.jpeg").write_bytes((root / "train/real/3.jpeg").read_bytes())
    (root / "test/fake/near.png").write_bytes(encoded(scene(2 * 5 + 1, 80)))
    (root / "train/fake/broken.png").write_bytes(encoded(scene(0))[:300])
    return root


@pytest.fixture(scope="module")
def audited(dishonest, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    done = run("--data", dishonest, "--out", out)
    return done, json.loads((out / "audit.json").read_text())


def run(*arguments):
    return CliRunner(env={"COLUMNS": "250"}).invoke(cli.app, ["audit", *map(str, arguments)])


def test_the_command_finds_what_was_planted(audited):
    done, told = audited
    assert done.exit_code == 0, done.output
    kinds = {finding["kind"]: finding for finding in told["findings"]}
    assert "3.jpeg" in kinds["same file, two splits"]["files"][0]
    assert "5.png" in kinds["near-copy, two splits"]["files"][0]
    assert "near.png" in kinds["near-copy, two splits"]["files"][0]
    assert "broken.png" in kinds["unreadable"]["files"][0]
    assert kinds["shortcut"]["severity"] == "error"
    assert told["unreadable"] == 1


def test_the_container_that_tells_the_class_is_named_with_its_figures(audited):
    probes = {probe["measure"]: probe for probe in audited[1]["probes"]}
    assert probes["container"]["auc"]["value"] == 1
    assert (probes["container"]["real"], probes["container"]["fake"]) == ("jpeg (100%)", "png (100%)")
    assert probes["pixels"]["auc"]["low"] < 0.6, "both classes have the same size"


def test_findings_come_worst_first_and_are_shown(audited):
    done, told = audited
    ranks = [SEVERITIES.index(finding["severity"]) for finding in told["findings"]]
    assert ranks == sorted(ranks)
    for words in ("Files", "container", "What to do".lower(), "write both classes anew", "audit.json"):
        assert words.lower() in done.output.lower()


def test_strict_fails_where_there_is_an_error_only(dishonest, tmp_path):
    done = run("--data", dishonest, "--out", tmp_path, "--strict", "--where", "split=train")
    assert done.exit_code == 5
    assert "leave out --strict" in done.stderr
    for number in range(12):
        for label in ("real", "fake"):
            path = tmp_path / "good" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(scene(2 * number + (label == "fake"), 64)))
    done = run("--data", tmp_path / "good", "--out", tmp_path, "--strict")
    assert done.exit_code == 0, done.output


def test_the_options_of_other_commands_choose_rows_and_sources(dishonest, tmp_path):
    done = run("--data", dishonest, "--out", tmp_path, "--where", "split=train", "--source-pattern", r"^\d")
    assert done.exit_code == 5, "broken.png has no number"
    done = run("--data", dishonest, "--out", tmp_path, "--where", "label=real", "--source-pattern", r"^.")
    told = json.loads((tmp_path / "audit.json").read_text())
    assert done.exit_code == 0
    assert {count["label"] for count in told["counts"]} == {"real"}
    assert "source in two splits" in {finding["kind"] for finding in told["findings"]}


@pytest.mark.media
@pytest.mark.parametrize(
    ("real", "traps"),
    [("real-pool/celeba", {"pixels", "jpeg_tables"}), ("real/ffhq-256", set())],
)
def test_the_traps_that_the_real_media_are_known_for_are_found(real, traps):
    """CelebA is of another size than StyleGAN; FFHQ has the same size, tables and tags."""
    manifest = scan(shared("media") / "manifest.tsv", where=[f"path=image/{real}/*1.jpg,image/fake/*1.jpg"])
    result = audit(manifest, examine(manifest["path"].to_pylist()), np.random.default_rng(0))
    told = {probe.measure: probe.auc.value for probe in result.probes}
    fixed = {"pixels", "jpeg_tables", "jpeg_quality", "exif", "container"}
    assert {name for name in fixed if told.get(name) == 1} == traps
    assert {finding.kind for finding in result.findings} <= {"shortcut", "uneven classes"}
