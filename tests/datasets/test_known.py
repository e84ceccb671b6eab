"""Every known arrangement on a small tree of its true shape, with media that decode."""

import functools
import json
import pathlib

import numpy as np
import pyarrow.parquet
import pytest

from deepscan.datasets.importing import import_layout
from deepscan.datasets.known import LAYOUTS
from deepscan.datasets.layout import scan
from deepscan.datasets.split import assign, check_leaks
from deepscan.errors import DataError
from deepscan.media.encode import encode_clip, encode_wav
from deepscan.media.source import Media
from tests.material import encoded, sound_file, tone


@functools.cache
def content(suffix):
    """A tiny file of the kind that a suffix promises."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    wave = tone(16_000, 0.1)
    return {
        ".png": lambda: encoded(picture),
        ".mp4": lambda: encode_clip([picture] * 3, 25),
        ".wav": lambda: encode_wav(wave),
        ".flac": lambda: sound_file(wave[None], "flac", "flac", 16_000),
    }[suffix]()


def plant(root, tree):
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(path.suffix) if text is None else text.encode())


def files(*names):
    return dict.fromkeys(names)


FF = "FaceForensics"
META = "source,target1,target2,method,category,type,race,gender,path,\n"
BENCH = {
    "simswap": {
        "simswap_Real": {"test": {"002": {"label": "simswap_Real", "frames": ["FF/real/002/000.png"]}}},
        "simswap_Fake": {
            "train": {
                "id1_id2_0000": {
                    "label": "simswap_Fake",
                    "frames": ["deepfakes_detection_datasets/DF40/simswap/cdf/id1_id2_0000/000.png"],
                }
            },
            "val": {"002_003": {"label": "simswap_Fake", "frames": [r".\DF40\simswap\002_003\000.png"]}},
            "test": {"002_003": {"label": "simswap_Fake", "frames": [r".\DF40\simswap\002_003\000.png"]}},
        },
    }
}
FF_BENCH = {
    "FaceForensics++": {
        "FF-real": {"train": {"c23": {"000": {"label": "FF-real", "frames": ["FF/real/000/000.png"]}}}},
        "FF-DF": {"train": {"c23": {"000_001": {"label": "FF-DF", "frames": ["FF/DF/000_001/7.png"]}}}},
    }
}
TREES = {
    "faceforensics++": files(
        f"{FF}/original_sequences/youtube/c23/videos/071.mp4",
        f"{FF}/original_sequences/youtube/c40/videos/054.mp4",
        f"{FF}/original_sequences/youtube/raw/videos/954.mp4",
        f"{FF}/original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        f"{FF}/manipulated_sequences/Deepfakes/c23/videos/071_054.mp4",
        f"{FF}/manipulated_sequences/NeuralTextures/c23/videos/054_071.mp4",
        f"{FF}/manipulated_sequences/FaceShifter/c40/videos/955_954.mp4",
        f"{FF}/manipulated_sequences/Deepfakes/masks/videos/071_054.mp4",
        f"{FF}/manipulated_sequences/DeepFakeDetection/c23/videos/01_02__hugging_happy__YVGY8LOK.mp4",
    )
    | {f"{FF}/splits/train.json": '[["071", "054"], ["087", "081"]]', f"{FF}/test.json": '[["954", "955"]]'},
    "deepfakedetection": files(
        f"{FF}/original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        f"{FF}/original_sequences/actors/c23/videos/09__exit_phone_room.mp4",
        f"{FF}/original_sequences/youtube/c23/videos/071.mp4",
        f"{FF}/manipulated_sequences/DeepFakeDetection/c23/videos/02_01__hugging_happy__YVGY8LOK.mp4",
    ),
    "celeb-df": files(
        "Celeb-DF-v2/Celeb-real/id0_0000.mp4",
        "Celeb-DF-v2/Celeb-real/id2_0003.mp4",
        "Celeb-DF-v2/YouTube-real/00170.mp4",
        "Celeb-DF-v2/Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-DF-v2/Celeb-synthesis/id2_id3_0003.mp4",
    )
    | {
        "Celeb-DF-v2/List_of_testing_videos.txt": "1 YouTube-real/00170.mp4\n1 Celeb-real/id2_0003.mp4\n"
        "0 Celeb-synthesis/id2_id3_0003.mp4\n"
    },
    "dfdc": files("dfdc_train_part_0/aa.mp4", "dfdc_train_part_0/bb.mp4", "dfdc_train_part_1/aa.mp4")
    | {
        "dfdc_train_part_0/metadata.json": json.dumps(
            {
                "aa.mp4": {"label": "FAKE", "split": "train", "original": "bb.mp4"},
                "bb.mp4": {"label": "REAL", "split": "train"},
                "cc.mp4": {"label": "REAL", "split": "train", "original": None},
            }
        ),
        "dfdc_train_part_1/metadata.json": '{"aa.mp4": {"label": "REAL", "split": "train"}}',
    },
    "deeperforensics": files(
        "source_videos/M101/light_down/angry/camera_front/M101_light_down_angry_camera_front.mp4",
        "manipulated_videos/end_to_end/000_M101.mp4",
        "manipulated_videos/end_to_end_level_5/000_M101.mp4",
        "manipulated_videos/end_to_end/001_W004.mp4",
        "original_sequences/youtube/c23/videos/001.mp4",
    )
    | {"lists/splits/train.txt": "000_M101.mp4\n", "lists/splits/test.txt": "001_W004.mp4\n"},
    "fakeavceleb": files(
        "FakeAVCeleb_v1.2/RealVideo-RealAudio/African/men/id00076/00109.mp4",
        "FakeAVCeleb_v1.2/RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4",
        "FakeAVCeleb_v1.2/FakeVideo-RealAudio/Asian-South/men/id00032/00028_id00076_0.mp4",
    )
    | {
        "FakeAVCeleb_v1.2/meta_data.csv": META
        + "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,"
        "FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
        "id00076,-,-,rtvc,B,RealVideo-FakeAudio,African,men,00109_fake.mp4,"
        "FakeAVCeleb/RealVideo-FakeAudio/African/men/id00076\n"
        "id00032,id00076,-,faceswap,C,FakeVideo-RealAudio,Asian (South),men,00028_id00076_0.mp4,"
        "FakeAVCeleb/FakeVideo-RealAudio/Asian-South/men/id00032\n"
    },
    "deepfakebench": files(
        "FF/real/000/000.png",
        "FF/real/002/000.png",
        "FF/DF/000_001/7.png",
        "FF/DF/000_001/8.png",
        "DF40/simswap/002_003/000.png",
        "DF40/simswap/cdf/id1_id2_0000/000.png",
    )
    | {"dataset_json/simswap.json": json.dumps(BENCH), "FaceForensics++.json": json.dumps(FF_BENCH)},
    "asvspoof2019-la": files(
        "LA/ASVspoof2019_LA_train/flac/LA_T_1138215.flac",
        "LA/ASVspoof2019_LA_train/flac/LA_T_1271820.flac",
        "LA/ASVspoof2019_LA_dev/flac/LA_D_1000265.flac",
        "LA/ASVspoof2019_LA_eval/flac/LA_E_2834763.flac",
    )
    | {
        f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{name}.txt": line
        for name, line in (
            ("train.trn", "LA_0079 LA_T_1138215 - - bonafide\nLA_0079 LA_T_1271820 - A01 spoof\n"),
            ("dev.trl", "LA_0069 LA_D_1000265 - - bonafide\n"),
            ("eval.trl", "LA_0039 LA_E_2834763 - A11 spoof\n"),
        )
    },
    "asvspoof2021-la": files("LA_eval/flac/LA_E_9332881.flac", "LA_eval/flac/LA_E_5013670.flac")
    | {
        "keys/LA/CM/trial_metadata.txt": "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
        "LA_0007 LA_E_5013670 none none bonafide bonafide notrim progress\n"
    },
    "asvspoof2021-df": files("part00/flac/DF_E_2000011.flac", "part01/flac/DF_E_2000053.flac")
    | {
        "keys/CM/trial_metadata.txt": "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress "
        "traditional_vocoder - - - -\n"
        "LA_0021 DF_E_2000053 low_mp3 asvspoof bonafide bonafide notrim eval bonafide - - - -\n"
    },
    "asvspoof5": files(
        "flac_T/T_0000000000.flac", "flac_D/D_0000000190.flac", "flac_E_eval/E_0009538969.flac"
    )
    | {
        "ASVspoof5.train.tsv": "T_4850 T_0000000000 F - - - AC3 A05 spoof -\n",
        "ASVspoof5.dev.track_1.tsv": "D_0461 D_0000000190 M - - - bonafide bonafide bonafide -\n",
        "ASVspoof5.eval.track_1.tsv": "E_1607 E_0009538969 F C05 2 6 AC2 A20 spoof -\n",
        "ASVspoof5.eval.track_2.trial.tsv": "E_1607 E_0009538969 F A20 spoof\n",
    },
    "in-the-wild": files("release_in_the_wild/0.wav", "release_in_the_wild/1.wav")
    | {
        "release_in_the_wild/meta.csv": "file,speaker,label\n0.wav,Alec Guinness,spoof\n"
        "1.wav,Alec Guinness,bona-fide\n"
    },
    "wavefake": files(
        "LJSpeech-1.1/wavs/LJ001-0001.wav",
        "jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav",
        "generated_audio/ljspeech_melgan/LJ001-0001_gen.wav",
        "generated_audio/ljspeech_hifiGAN/LJ001-0001_generated.wav",
        "generated_audio/jsut_parallel_wavegan/BASIC5000_0001_gen.wav",
        "generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav",
    ),
}
"""For each known data set, its files: None = media of the kind that the suffix says."""

EXPECTED = {
    "faceforensics++": [
        ("071_054.mp4", "fake", "train", "Deepfakes", "054"),
        ("955_954.mp4", "fake", "test", "FaceShifter", "954"),
        ("054_071.mp4", "fake", "train", "NeuralTextures", "054"),
        ("071.mp4", "real", "train", "", "054"),
        ("054.mp4", "real", "train", "", "054"),
        ("954.mp4", "real", "test", "", "954"),
    ],
    "deepfakedetection": [
        ("02_01__hugging_happy__YVGY8LOK.mp4", "fake", "", "DeepFakeDetection", "01"),
        ("01__exit_phone_room.mp4", "real", "", "", "01"),
        ("09__exit_phone_room.mp4", "real", "", "", "09"),
    ],
    "celeb-df": [
        ("id0_0000.mp4", "real", "train", "", "id0"),
        ("id2_0003.mp4", "real", "test", "", "id2"),
        ("id0_id1_0000.mp4", "fake", "train", "Celeb-synthesis", "id0"),
        ("id2_id3_0003.mp4", "fake", "test", "Celeb-synthesis", "id2"),
        ("00170.mp4", "real", "test", "", "youtube-00170"),
    ],
    "dfdc": [
        ("aa.mp4", "fake", "train", "", "dfdc_train_part_0/aa.mp4"),
        ("bb.mp4", "real", "train", "", "dfdc_train_part_0/aa.mp4"),
        ("aa.mp4", "real", "train", "", "dfdc_train_part_1/aa.mp4"),
    ],
    "deeperforensics": [
        ("000_M101.mp4", "fake", "train", "DF-VAE", "000"),
        ("001_W004.mp4", "fake", "test", "DF-VAE", "001"),
        ("000_M101.mp4", "fake", "train", "DF-VAE", "000"),
        ("001.mp4", "real", "test", "", "001"),
        ("M101_light_down_angry_camera_front.mp4", "real", "train", "", "000"),
    ],
    "fakeavceleb": [
        ("00028_id00076_0.mp4", "fake", "", "faceswap", "id00032"),
        ("00109_fake.mp4", "fake", "", "rtvc", "id00032"),
        ("00109.mp4", "real", "", "", "id00032"),
    ],
    "deepfakebench": [
        ("DF40/simswap/002_003/000.png", "fake", "test", "simswap", "002"),
        ("DF40/simswap/cdf/id1_id2_0000/000.png", "fake", "train", "simswap", "id1"),
        ("FF/DF/000_001/7.png", "fake", "train", "FF-DF", "000"),
        ("FF/real/000/000.png", "real", "train", "", "000"),
        ("FF/real/002/000.png", "real", "test", "", "002"),
    ],
    "asvspoof2019-la": [
        ("LA_D_1000265.flac", "real", "val", "", "LA_0069"),
        ("LA_E_2834763.flac", "fake", "test", "A11", "LA_0039"),
        ("LA_T_1138215.flac", "real", "train", "", "LA_0079"),
        ("LA_T_1271820.flac", "fake", "train", "A01", "LA_0079"),
    ],
    "asvspoof2021-la": [
        ("LA_E_5013670.flac", "real", "test", "", "LA_0007"),
        ("LA_E_9332881.flac", "fake", "test", "A07", "LA_0009"),
    ],
    "asvspoof2021-df": [
        ("DF_E_2000011.flac", "fake", "test", "A14", "LA_0023"),
        ("DF_E_2000053.flac", "real", "test", "", "LA_0021"),
    ],
    "asvspoof5": [
        ("D_0000000190.flac", "real", "val", "", "D_0461"),
        ("E_0009538969.flac", "fake", "test", "A20", "E_1607"),
        ("T_0000000000.flac", "fake", "train", "A05", "T_4850"),
    ],
    "in-the-wild": [
        ("0.wav", "fake", "", "", "Alec Guinness"),
        ("1.wav", "real", "", "", "Alec Guinness"),
    ],
    "wavefake": [
        ("LJ001-0001.wav", "real", "", "", "LJ001-0001"),
        (
            "gen_0.wav",
            "fake",
            "",
            "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech",
            "gen_0",
        ),
        ("BASIC5000_0001_gen.wav", "fake", "", "jsut_parallel_wavegan", "BASIC5000_0001"),
        ("LJ001-0001_generated.wav", "fake", "", "ljspeech_hifiGAN", "LJ001-0001"),
        ("LJ001-0001_gen.wav", "fake", "", "ljspeech_melgan", "LJ001-0001"),
        ("BASIC5000_0001.wav", "real", "", "", "BASIC5000_0001"),
    ],
}
"""What each is read as: end of the path, label, split, generator, source; sorted by path."""


def read(name, root, **options):
    return import_layout(LAYOUTS.get(name), root, **options)


@pytest.fixture(params=LAYOUTS.names())
def planted(request, tmp_path):
    plant(tmp_path, TREES[request.param])
    return request.param, tmp_path


def test_every_known_arrangement_is_read(planted):
    name, root = planted
    rows = read(name, root).manifest.to_pylist()
    found = [tuple(row[k] for k in ("path", "label", "split", "generator", "source")) for row in rows]
    assert [row[1:] for row in found] == [row[1:] for row in EXPECTED[name]]
    assert all(row[0].endswith("/" + own[0]) for row, own in zip(found, EXPECTED[name], strict=True))


def test_the_manifest_is_one_that_scan_and_the_check_of_leaks_accept(planted, tmp_path):
    name, root = planted
    imported = read(name, root)
    pyarrow.parquet.write_table(imported.manifest, tmp_path / "out.parquet")
    table = scan(tmp_path / "out.parquet")
    check_leaks(table)
    assert (imported.leaks, imported.unsplit) == ((), 0)
    assert table["label"].to_pylist() == [row[1] == "fake" for row in EXPECTED[name]]
    assert table["source"].to_pylist() == [row[4] for row in EXPECTED[name]]


def test_modality_says_what_the_files_hold(planted):
    name, root = planted
    kinds = {"av": "video"}
    for row in read(name, root).manifest.to_pylist():
        media = Media.from_path(pathlib.Path(row["path"]))
        assert media.facts.kind == kinds.get(row["modality"], row["modality"])


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("faceforensics++", FF),
        ("celeb-df", "Celeb-DF-v2"),
        ("fakeavceleb", "FakeAVCeleb_v1.2"),
        ("asvspoof2019-la", "LA"),
        ("in-the-wild", "release_in_the_wild"),
    ],
)
def test_the_folder_itself_does_as_well_as_one_above(tmp_path, name, inner):
    plant(tmp_path, TREES[name])
    assert read(name, tmp_path / inner).manifest.equals(read(name, tmp_path).manifest)


@pytest.mark.parametrize(
    ("name", "column", "values"),
    [
        ("faceforensics++", "compression", ["c23", "c40", "c23", "c23", "c40", "raw"]),
        ("deeperforensics", "distortion", ["end_to_end", "end_to_end", "end_to_end_level_5", "", ""]),
        ("fakeavceleb", "video_label", ["fake", "real", "real"]),
        ("fakeavceleb", "audio_label", ["real", "fake", "real"]),
        ("fakeavceleb", "race", ["Asian (South)", "African", "African"]),
        ("deepfakebench", "compression", ["", "", "c23", "c23", ""]),
        ("asvspoof2021-la", "codec", ["none", "alaw"]),
        ("asvspoof2021-df", "vocoder", ["traditional_vocoder", "bonafide"]),
        ("asvspoof5", "codec_quality", ["-", "2", "-"]),
    ],
)
def test_what_else_is_known_becomes_a_column(tmp_path, name, column, values):
    plant(tmp_path, TREES[name])
    assert read(name, tmp_path).manifest[column].to_pylist() == values


def test_columns_of_ours_come_first_and_inner_ones_are_left_out(planted):
    name, root = planted
    names = read(name, root).manifest.column_names
    assert names[:5] == ["path", "label", "split", "source", "generator"]
    assert [column for column in names if column.startswith("_")] == []


@pytest.mark.parametrize(
    ("word", "label", "generator"),
    [
        ("FF-real", "real", ""),
        ("FF-NT", "fake", "FF-NT"),
        ("CelebDFv2_fake", "fake", "CelebDFv2"),
        ("DFDCP_FakeB", "fake", "DFDCP"),
        ("UADFV_Real", "real", ""),
        ("fake", "fake", ""),
    ],
)
def test_words_of_deepfakebench_are_known(tmp_path, word, label, generator):
    leaf = {"a": {word: {"train": {"v": {"label": word, "frames": ["datasets/rgb/set/0.png"]}}}}}
    plant(tmp_path, files("set/0.png") | {"a.json": json.dumps(leaf)})
    row = read("deepfakebench", tmp_path).manifest.to_pylist()[0]
    assert (row["label"], row["generator"]) == (label, generator)


def test_the_one_of_the_list_of_celeb_df_is_real(tmp_path):
    """The trap: 1 is real there, and a file in a folder that says otherwise stops the import."""
    wrong = {"List_of_testing_videos.txt": "1 Celeb-synthesis/id0_id1_0000.mp4\n"}
    plant(tmp_path, files("Celeb-synthesis/id0_id1_0000.mp4", "Celeb-real/id0_0000.mp4") | wrong)
    with pytest.raises(DataError, match="says label 'real', but another place says 'fake'"):
        read("celeb-df", tmp_path)


def test_fakes_of_test_persons_in_training_are_reported(tmp_path):
    """As in the true list, which takes some fakes of a clip and leaves others."""
    plant(tmp_path, files("Celeb-real/id4_0003.mp4", "Celeb-synthesis/id4_id1_0003.mp4"))
    plant(tmp_path, files("Celeb-real/id1_0000.mp4", "YouTube-real/00001.mp4", "YouTube-real/00002.mp4"))
    plant(tmp_path, {"List_of_testing_videos.txt": "0 Celeb-synthesis/id4_id1_0003.mp4\n"})
    imported = read("celeb-df", tmp_path)
    assert imported.leaks == ("id1",)
    pyarrow.parquet.write_table(imported.manifest, tmp_path / "out.parquet")
    with pytest.raises(DataError, match="id1 in test, train"):
        check_leaks(scan(tmp_path / "out.parquet"))
    anew = read("celeb-df", tmp_path, splits=False)
    assert (anew.leaks, set(anew.manifest["split"].to_pylist())) == ((), {""})


def test_official_pairs_keep_a_person_and_the_donor_in_one_split(tmp_path):
    """Without the fakes, only the pairs tell that 054 and 071 belong together."""
    names = [f"original_sequences/youtube/c23/videos/{number}.mp4" for number in ("054", "071", "100")]
    plant(tmp_path, files(*names, "manipulated_sequences/FaceSwap/c23/videos/100_101.mp4"))
    assert read("faceforensics++", tmp_path).manifest["source"].to_pylist() == ["100", "054", "071", "100"]
    plant(tmp_path, {"splits/train.json": '[["071", "054"]]', "splits/test.json": '[["100", "101"]]'})
    imported = read("faceforensics++", tmp_path)
    assert imported.manifest["source"].to_pylist() == ["100", "054", "054", "100"]
    assert imported.manifest["split"].to_pylist() == ["test", "train", "train", "test"]


def test_data_without_official_splits_can_be_divided(tmp_path):
    pairs = [(f"{n:03}", f"{n + 1:03}") for n in range(0, 12, 2)]
    for one, other in pairs:
        plant(tmp_path, files(f"original_sequences/youtube/c23/videos/{one}.mp4"))
        plant(tmp_path, files(f"manipulated_sequences/Deepfakes/c23/videos/{one}_{other}.mp4"))
    pyarrow.parquet.write_table(read("faceforensics++", tmp_path).manifest, tmp_path / "out.parquet")
    table = assign(scan(tmp_path / "out.parquet"))
    check_leaks(table)
    assert set(table["split"].to_pylist()) == {"train", "val", "test"}


def test_files_outside_of_the_lists_have_no_split_and_are_told(tmp_path):
    plant(tmp_path, TREES["faceforensics++"])
    plant(tmp_path, files("FaceForensics/original_sequences/youtube/c23/videos/333.mp4"))
    assert read("faceforensics++", tmp_path).unsplit == 1


def test_what_is_listed_and_absent_or_there_and_unlisted_is_told(tmp_path):
    plant(tmp_path, TREES["deepfakebench"])
    plant(tmp_path, TREES["dfdc"])
    assert read("dfdc", tmp_path).absent == ("dfdc_train_part_0/cc.mp4",)
    assert read("deepfakebench", tmp_path).unlisted == ("FF/DF/000_001/8.png",)


@pytest.mark.parametrize(
    ("name", "file", "text", "says"),
    [
        ("asvspoof2019-la", "ASVspoof2019.LA.cm.dev.trl.txt", "a b c\n", "line 1, has 3 fields, where 5"),
        ("asvspoof5", "ASVspoof5.train.tsv", "a b F - - - x A05 fake -\n", "line 1, says label 'fake'"),
        ("in-the-wild", "meta.csv", "name,who,label\n", "begin with the columns file, speaker, label"),
        ("in-the-wild", "meta.csv", "", "is empty"),
        ("dfdc", "metadata.json", '{"a.mp4": {"label": "MAYBE"}}', "at a.mp4, says label 'MAYBE'"),
        ("dfdc", "metadata.json", "{", "is no JSON"),
        ("dfdc", "metadata.json", "[1]", "at its top, holds no object with 'label'"),
        ("faceforensics++", "train.json", '[["071"]]', "entry 0, is no list of 2 texts"),
        ("faceforensics++", "train.json", '{"a": 1}', "entry 0, is no list of 2 texts"),
        ("deepfakebench", "x.json", '{"a": {"b": {"label": "Fake"}}}', "is 2 objects deep, where 4 or 5"),
        (
            "deepfakebench",
            "x.json",
            '{"a": {"b": {"train": {"v": {"label": "Fake", "frames": 1}}}}}',
            "has no list 'frames'",
        ),
    ],
)
def test_an_unexpected_listing_is_refused_by_its_place(tmp_path, name, file, text, says):
    plant(tmp_path, {file: text})
    with pytest.raises(DataError, match=says) as refused:
        read(name, tmp_path)
    assert file in str(refused.value)


def test_a_listing_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "meta.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"meta.csv.*cannot be read as text"):
        read("in-the-wild", tmp_path)


def test_a_folder_of_another_arrangement_is_refused(planted, tmp_path):
    name, _ = planted
    plant(tmp_path / "elsewhere", files("real/a.wav", "fake/b.wav"))
    with pytest.raises(DataError, match=r"not arranged like.*it holds 2 files, such as 'fake/b.wav'"):
        read(name, tmp_path / "elsewhere")


def test_lists_without_any_of_their_files_are_an_error(tmp_path):
    plant(tmp_path, files("0.wav") | {"meta.csv": "file,speaker,label\n9.wav,x,spoof\n"})
    with pytest.raises(DataError, match="none of 1 media is named in"):
        read("in-the-wild", tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read("dfdc", tmp_path / "nowhere")


def test_a_linked_folder_is_read_and_a_loop_ends(tmp_path):
    plant(tmp_path / "store", TREES["in-the-wild"])
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "store")
    assert read("in-the-wild", tmp_path / "here").manifest.num_rows == 2
