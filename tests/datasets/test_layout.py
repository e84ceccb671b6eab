import json
import os
import pathlib
import re

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepscan.datasets.layout import LABEL_WORDS, SPLIT_WORDS, digest, scan
from deepscan.errors import ConfigError, DataError

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("DEEPSCAN_SHARED", ROOT.parent / "shared"))


def plant(root, *names, content=b"x"):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def rows(table, *columns):
    table = table.select(columns or ["label", "split", "generator"])
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("real/a.jpg", (0, "", "")),
        ("FAKE/a.jpg", (1, "", "")),
        ("train/real/a.jpg", (0, "train", "")),
        ("Valid/Fake/a.jpg", (1, "val", "")),
        ("validation/original/a.jpg", (0, "val", "")),
        ("dev/spoof/a.flac", (1, "val", "")),
        ("real/train/a.jpg", (0, "train", "")),
        ("fake/testing/a.jpg", (1, "test", "")),
        ("real_videos/train/a.mp4", (0, "train", "")),
        ("fake_images/test/a.png", (1, "test", "")),
        ("training_real/a.jpg", (0, "train", "")),
        ("Training-Fake/a.jpg", (1, "train", "")),
        ("real_and_fake_face/training_fake/a.jpg", (1, "train", "")),
        ("real-vs-fake/train/real/a.jpg", (0, "train", "")),
        ("bona-fide/a.wav", (0, "", "")),
        ("bona_fide_audio/a.wav", (0, "", "")),
        ("bonafide/a.wav", (0, "", "")),
        ("pristine/a.wav", (0, "", "")),
        ("genuine/a.wav", (0, "", "")),
        ("authentic/a.wav", (0, "", "")),
        ("deepfakes/a.mp4", (1, "", "")),
        ("ai-generated/a.jpg", (1, "", "")),
        ("0_real/a.jpg", (0, "", "")),
        ("Celeb-real/a.mp4", (0, "", "")),
        ("Celeb-synthesis/a.mp4", (1, "", "")),
        ("original_sequences/youtube/c23/videos/033.mp4", (0, "", "")),
        ("manipulated_sequences/Deepfakes/c23/videos/033_097.mp4", (1, "", "Deepfakes")),
        ("manipulated_sequences/Face2Face/c23/videos/033_097.mp4", (1, "", "Face2Face")),
        ("train/fake/stylegan/deep/down/a.jpg", (1, "train", "stylegan")),
        ("fake/train/Real-ESRGAN/a.jpg", (1, "train", "Real-ESRGAN")),
        ("fake/images/a.jpg", (1, "", "")),
        ("real/alice/a.jpg", (0, "", "")),
        ("deepfake_corpus/real/a.jpg", (0, "", "")),
        ("deepfake_corpus/train/df/a.jpg", (1, "train", "df")),
    ],
)
def test_folder_names_say_label_split_and_generator(tmp_path, name, expected):
    assert rows(scan(plant(tmp_path, name))) == [expected]


def test_columns_have_the_declared_order_and_types(tmp_path):
    schema = scan(plant(tmp_path, "real/a.jpg")).schema
    assert [(field.name, str(field.type)) for field in schema] == [
        ("path", "string"),
        ("label", "int8"),
        ("split", "string"),
        ("source", "string"),
        ("generator", "string"),
    ]


def test_paths_are_absolute_sorted_and_independent_of_where_we_stand(tmp_path, monkeypatch):
    plant(tmp_path, "set/real/b.jpg", "set/fake/a.jpg", "set/real/a.jpg")
    monkeypatch.chdir(tmp_path)
    table = scan("set")
    names = ("fake/a.jpg", "real/a.jpg", "real/b.jpg")
    assert table["path"].to_pylist() == [str(tmp_path / "set" / name) for name in names]
    assert table.equals(scan(tmp_path / "set"))


def test_equal_names_in_different_folders_are_different_sources(tmp_path):
    table = scan(plant(tmp_path, "real/001.jpg", "fake/001.jpg"))
    assert table["source"].to_pylist() == ["fake/001", "real/001"]


def test_source_pattern_takes_the_first_group_or_the_whole_match(tmp_path):
    plant(tmp_path, "real/033.mp4", "fake/033_097.mp4", "real/097.mp4")
    assert scan(tmp_path, source_pattern=r"^(\d+)_?")["source"].to_pylist() == ["033", "033", "097"]
    assert scan(tmp_path, source_pattern=r"^\d+")["source"].to_pylist() == ["033", "033", "097"]
    assert scan(tmp_path, source_pattern=r"(\d+)_\d+|.*")["source"].to_pylist() == ["033", "033", "097"]


@pytest.mark.parametrize(
    ("pattern", "error", "says"),
    [("(", ConfigError, "regular expression"), ("_097", DataError, r"1 file \(.*033.mp4\)")],
)
def test_a_source_pattern_that_cannot_work_is_refused(tmp_path, pattern, error, says):
    with pytest.raises(error, match=says):
        scan(plant(tmp_path, "real/033.mp4", "fake/033_097.mp4"), source_pattern=pattern)


def test_by_products_hidden_files_and_mask_folders_are_no_media(tmp_path):
    plant(
        tmp_path,
        "real/a.jpg",
        "real/.hidden.jpg",
        "real/Thumbs.db",
        "real/a.json",
        "fake/notes.txt",
        "README.md",
        "fake/labels.csv",
        ".cache/fake/a.jpg",
        "__MACOSX/fake/a.jpg",
        "fake/masks/a.png",
    )
    assert rows(scan(tmp_path), "label") == [(0,)]


def test_a_folder_linked_twice_is_read_once_and_a_loop_ends(tmp_path):
    plant(tmp_path, "fake/a.jpg", "real/a.jpg")
    (tmp_path / "fake/loop").symlink_to(tmp_path / "fake")
    (tmp_path / "train").symlink_to(tmp_path / "real")
    assert rows(scan(tmp_path), "label") == [(1,), (0,)]


def test_a_linked_folder_is_followed(tmp_path):
    plant(tmp_path, "elsewhere/a.jpg", "set/real/b.jpg")
    (tmp_path / "set/fake").symlink_to(tmp_path / "elsewhere")
    assert rows(scan(tmp_path / "set"), "label") == [(1,), (0,)]


def test_unlabelled_files_are_counted_never_dropped(tmp_path):
    says = r"4 files \(extra/0.jpg, extra/1.jpg, extra/2.jpg, ...\).*Name the folders"
    with pytest.raises(DataError, match=says):
        scan(plant(tmp_path, "real/a.jpg", *(f"extra/{i}.jpg" for i in range(4))))


@pytest.mark.parametrize("name", ["fake/real/a.jpg", "deepfake-corpus/celeb-real/a.jpg"])
def test_folders_that_say_both_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="both real and fake"):
        scan(plant(tmp_path, name))


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_to_find_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"does not exist|holds no files"):
        scan(tmp_path / name)


def write(root, name, text):
    plant(root, "a.jpg", "b.jpg", "sub/c.jpg")
    (root / name).write_text(text, encoding="utf-8")
    return root / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,label,who\na.jpg,fake,007\nsub/c.jpg,real,008\n"),
        ("m.csv", "\ufeffwho;Label;File Path\n007;Fake;a.jpg\n008;Bona-fide;./sub/../sub/c.jpg\n"),
        ("m.csv", 'who,path,target\n007,"a.jpg",1\n008,sub/c.jpg,0\n'),
        ("m.tsv", "filename\tclass\twho\na.jpg\tdeepfake\t007\nsub/c.jpg\toriginal\t008\n"),
        ("m.csv", "image,is_fake,who\na.jpg,1.0,007\nsub/c.jpg,0.0,008\n"),
        (
            "m.jsonl",
            '{"file": "a.jpg", "label": 1, "who": "007"}\n{"file": "sub/c.jpg", "label": 0, "who": "008"}\n',
        ),
    ],
)
def test_manifests_of_many_kinds_say_the_same(tmp_path, name, text):
    table = scan(write(tmp_path, name, text))
    assert table.to_pylist() == [
        {
            "path": str(tmp_path / f"{name}.jpg"),
            "label": label,
            "split": "",
            "source": name,
            "generator": "",
            "who": who,
        }
        for name, label, who in (("a", 1, "007"), ("sub/c", 0, "008"))
    ]


def test_parquet_keeps_the_types_of_other_columns(tmp_path):
    plant(tmp_path, "a.jpg", "b.jpg")
    columns = {
        "path": ["a.jpg", "b.jpg"],
        "label": pa.array([True, False]).cast(pa.int64()),
        "age": [31, 32],
        "split": pa.array(["Training", None]).dictionary_encode(),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "m.parquet")
    table = scan(tmp_path / "m.parquet")
    assert rows(table, "label", "split", "age") == [(1, "train", 31), (0, "", 32)]
    assert table.schema.field("age").type == pa.int64()


def test_source_and_generator_are_read_and_blanks_filled(tmp_path):
    table = scan(
        write(
            tmp_path, "m.csv", "path,label,source,method\na.jpg,1,01,GAN\nb.jpg,0,01,camera\nsub/c.jpg,0,,\n"
        )
    )
    assert rows(table, "source", "generator") == [("01", "GAN"), ("01", ""), ("sub/c", "")]


def test_a_manifest_at_the_top_of_a_folder_speaks_for_it(tmp_path):
    write(tmp_path, "manifest.csv", "path,label\na.jpg,1\n")
    assert scan(tmp_path).equals(scan(tmp_path / "manifest.csv"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.csv", "path,kind\na.jpg,real\n", "no column for the label.*path, kind"),
        ("m.csv", "label\nreal\n", "no column for the path"),
        (
            "m.csv",
            "path,label\na.jpg,maybe\nb.jpg,\n",
            r"label '', 'maybe' of 2 files \(.*a.jpg.*none of 'real'",
        ),
        ("m.csv", "path,label,split\na.jpg,real,holdout\n", r"split 'holdout' of 1 file .*'train'"),
        ("m.csv", "path,label\na.jpg,real\n./a.jpg,fake\n", r"more than once: 1 file \(.*a.jpg\)"),
        (
            "m.csv",
            "path,label\nx1,0\nx2,0\nx3,1\nx4,1\na.jpg,1\n",
            r"Not there: 4 files \(.*x1, .*x2, .*x3, ...\), of 5",
        ),
        ("m.csv", "path,label\n", "holds no files"),
        ("m.csv", "path,Path,label\na.jpg,a.jpg,1\n", "same name"),
        ("m.csv", "path,label\na.jpg\n", "does not read as .csv"),
        ("m.jsonl", "{", "does not read as .jsonl"),
        ("m.parquet", "path", "does not read as .parquet"),
        ("m.xlsx", "path,label\na.jpg,1\n", r"no manifest; .*\.csv, \.tsv, \.parquet, \.jsonl"),
        ("m.jsonl", json.dumps({"path": "a.jpg", "label": [1]}), "'label' holds list"),
    ],
)
def test_unusable_manifests_say_what_is_wrong(tmp_path, name, text, says):
    with pytest.raises(DataError, match=says):
        scan(write(tmp_path, name, text))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["who=ann"], "ab"),
        (["who!=ann"], "c"),
        (["who=bob,ann"], "abc"),
        (["who=a*"], "ab"),
        (["who=ann", "label=real"], "b"),
        (["path=sub/*"], "c"),
        (["path=sub/*,b.*"], "bc"),
        (["age=3?"], "bc"),
    ],
)
def test_where_keeps_the_rows_that_meet_every_condition(tmp_path, where, kept):
    path = write(
        tmp_path, "m.csv", "path,label,who,age\na.jpg,fake,ann,20\nb.jpg,real,ann,31\nsub/c.jpg,real,bob,32\n"
    )
    assert [pathlib.Path(p).stem for p in scan(path, where=where)["path"].to_pylist()] == list(kept)


def test_conditions_that_leave_nothing_are_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no files with label=real,fake with path!=\*.jpg"):
        scan(plant(tmp_path, "real/a.jpg"), where=["label=real,fake", "path!=*.jpg"])


def test_where_can_leave_out_rows_that_would_be_refused(tmp_path):
    path = write(tmp_path, "m.csv", "path,label\na.jpg,fake\nb.jpg,unknown\ngone.jpg,real\n")
    assert rows(scan(path, where=["label!=unknown", "path!=gone.*"]), "label") == [(1,)]


@pytest.mark.parametrize("where", ["label", "lable=real", "=real"])
def test_a_malformed_condition_is_refused(tmp_path, where):
    with pytest.raises(ConfigError, match="column=value"):
        scan(plant(tmp_path, "real/a.jpg"), where=[where])


def test_digest_follows_the_rows_and_not_the_place(tmp_path):
    one, two = (scan(plant(tmp_path / name, "real/a.jpg", "fake/a.jpg")) for name in ("one", "two"))
    assert digest(one) == digest(two) == digest(one.take([1, 0]))
    assert len(digest(one)) == 16


@pytest.mark.parametrize(
    "change",
    [
        lambda root, table: scan(plant(root, "real/b.jpg")),
        lambda root, table: scan(plant(root, "real/a.jpg", content=b"longer")),
        lambda root, table: table.slice(0, 1),
        lambda root, table: table.slice(0, 0),
        lambda root, table: table.set_column(1, "label", pa.array([1, 1], pa.int8())),
        lambda root, table: table.set_column(2, "split", pa.array(["", "test"])),
        lambda root, table: table.set_column(3, "source", pa.array(["s", "s"])),
    ],
)
def test_digest_changes_with_names_labels_splits_sources_and_sizes(tmp_path, change):
    table = scan(plant(tmp_path, "real/a.jpg", "fake/a.jpg"))
    before = digest(table)
    assert digest(change(tmp_path, table)) != before


def test_digest_of_a_vanished_file_says_so(tmp_path):
    table = scan(plant(tmp_path, "real/a.jpg"))
    (tmp_path / "real/a.jpg").unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        digest(table)


# --- docs/data.md --------------------------------------------------------------------------------


def examples(kind):
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
    assert found
    return found


def test_the_layouts_of_the_documentation_read_as_it_says(tmp_path):
    lines = [line.split() for block in examples("layout") for line in block.splitlines()]
    for i, (name, *expected) in enumerate(lines):
        [(label, split, generator)] = rows(scan(plant(tmp_path / str(i), name)))
        said = [("real", "fake")[label], split, generator and f"generator={generator}"]
        assert [word for word in said if word] == expected
    assert scan(plant(tmp_path / "all", *(line[0] for line in lines))).num_rows == len(lines)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_the_manifests_of_the_documentation_read(tmp_path, kind):
    for text in examples(kind):
        table = scan(write(tmp_path, f"manifest.{kind}", text))
        assert rows(table, "label")[:2] == [(0,), (1,)]


def test_the_code_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    plant(tmp_path / "faces", *(f"{label}/{i:03}.jpg" for label in ("real", "fake") for i in range(10)))
    monkeypatch.chdir(tmp_path)
    for code in examples("python"):
        exec(code, {})
    assert capsys.readouterr().out.startswith("20 ")
    assert len(scan("demo")) == 24


def test_the_words_of_the_documentation_are_those_of_the_code():
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    assert all(re.search(rf"\b{word}\b", text) for word in (*LABEL_WORDS, *SPLIT_WORDS))


@pytest.mark.media
@pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="no folder of real media beside the project")
def test_the_media_manifest_reads_as_it_is():
    table = scan(SHARED / "media/manifest.tsv", where=["path=image/*/ffhq-256/*,image/*/stylegan1-256/*"])
    assert table.num_rows == 2000
    assert table["label"].to_pylist().count(1) == 1100
    assert set(table["generator"].to_pylist()) == {"", "StyleGAN1-256"}
    assert scan(SHARED / "media", where=["modality=video"]).num_rows == 24
