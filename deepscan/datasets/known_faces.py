"""Arrangements of published data sets of faces: pictures and clips.

They were written from the authors' descriptions and from copies of their lists. Nothing is guessed in a
list that looks otherwise: it is refused, with the file and the line.
"""

from deepscan.datasets.importing import ANYWHERE, SPLITS, Files, Layout, Listing
from deepscan.datasets.listings import Fields, Nested, Tuples
from deepscan.media.encode import IMAGE, VIDEO

COMPRESSED = r"(?P<compression>raw|c23|c40)/videos/"
REAL, FAKE = {"label": "real"}, {"label": "fake"}

FACES: tuple[Layout, ...] = (
    Layout(
        name="faceforensics++",
        summary="FaceForensics++ with FaceShifter (Roessler et al., ICCV 2019), all compressions",
        terms="research only, on request",
        files=(
            Files(
                pattern=ANYWHERE + r"original_sequences/youtube/" + COMPRESSED + r"(?P<person>\d{3})\.mp4",
                key="{person}",
                columns=REAL | {"modality": VIDEO},
            ),
            Files(
                pattern=ANYWHERE
                + r"manipulated_sequences/(?!DeepFakeDetection/)(?P<generator>\w+)/"
                + COMPRESSED
                + r"(?P<person>\d{3})_(?P<donor>\d{3})\.mp4",
                key="{person}",
                columns=FAKE | {"modality": VIDEO},
            ),
        ),
        # The official splits are pairs of videos whose faces are swapped with each other, so a pair is
        # closed: neither the person who is shown nor the one whose face or motion is taken is in two splits.
        listings=(
            Listing(
                pattern=ANYWHERE + r"(?P<split>train|val|test)\.json",
                reader=Tuples(columns=("_one", "_other")),
                keys=("{_one}", "{_other}"),
                columns={"split": "{split}", "_pair": "{_one}"},
            ),
        ),
        groups=("person", "donor", "_pair"),
    ),
    Layout(
        name="deepfakedetection",
        summary="DeepFakeDetection (Dufour and Gully, 2019), as spread with FaceForensics++",
        terms="research only, on request",
        # There are no official splits, and the 28 actors are swapped with one another: expect a single
        # source, which makes it a set to measure on and not one to divide.
        files=(
            Files(
                pattern=ANYWHERE
                + r"original_sequences/actors/"
                + COMPRESSED
                + r"(?P<person>\d\d)__(?P<scene>\w+)\.mp4",
                columns=REAL | {"modality": VIDEO},
            ),
            Files(
                pattern=ANYWHERE
                + r"manipulated_sequences/(?P<generator>DeepFakeDetection)/"
                + COMPRESSED
                + r"(?P<person>\d\d)_(?P<donor>\d\d)__(?P<scene>\w+)__\w+\.mp4",
                columns=FAKE | {"modality": VIDEO},
            ),
        ),
        groups=("person", "donor"),
    ),
    Layout(
        name="celeb-df",
        summary="Celeb-DF v1 and v2 (Li et al., CVPR 2020); what the list of testing videos leaves is train",
        terms="research only, on request",
        files=(
            Files(
                pattern=ANYWHERE + r"(?P<_file>Celeb-real/(?P<person>id\d+)_(?P<clip>\d+)\.mp4)",
                key="{_file}",
                columns=REAL | {"modality": VIDEO},
            ),
            Files(
                pattern=ANYWHERE + r"(?P<_file>YouTube-real/(?P<clip>\d+)\.mp4)",
                key="{_file}",
                columns=REAL | {"modality": VIDEO, "person": "youtube-{clip}"},
            ),
            Files(
                pattern=ANYWHERE
                + r"(?P<_file>Celeb-synthesis/(?P<person>id\d+)_(?P<donor>id\d+)_(?P<clip>\d+)\.mp4)",
                key="{_file}",
                columns=FAKE | {"modality": VIDEO, "generator": "Celeb-synthesis"},
            ),
        ),
        # In the list 1 is REAL. It is there to contradict the folders where a file was misplaced. The list
        # takes persons, and even fakes of one clip, into both splits: see the leaks that importing reports.
        listings=(
            Listing(
                pattern=ANYWHERE + r"List_of_testing_videos\.txt",
                reader=Fields(columns=("_said", "_file")),
                keys=("{_file}",),
                columns={"label": "{_said}", "split": "test"},
                words={"label": (("1", "real"), ("0", "fake"))},
            ),
        ),
        rest="train",
        groups=("person", "donor"),
    ),
    Layout(
        name="dfdc",
        summary="Deepfake Detection Challenge, training parts (Dolhansky et al., 2020)",
        terms="research, see the terms of the challenge",
        files=(
            Files(
                pattern=r"(?P<_part>(?:.*/)?)(?P<_file>[^/]+\.mp4)",
                key="{_part}{_file}",
                columns={"modality": VIDEO},
            ),
        ),
        # A fake names the clip that it was made from. Who acts in which clips is not published, so that the
        # same person may appear in two sources.
        listings=(
            Listing(
                pattern=r"(?P<_part>(?:.*/)?)metadata\.json",
                reader=Nested(shapes=(("_file",),), fields=("label", "split", "original")),
                keys=("{_part}{_file}",),
                columns={
                    "label": "{label}",
                    "split": "{split}",
                    "_clip": "{_part}{_file}",
                    "_original": "{_part}{original}",
                },
                words={
                    "label": (("real", "real"), ("fake", "fake")),
                    "split": (*SPLITS, ("", "")),
                    "_original": ((".*/|", ""), ("(.+)", r"\1")),
                },
            ),
        ),
        listed_only=True,
        groups=("_clip", "_original"),
    ),
    Layout(
        name="deeperforensics",
        summary="DeeperForensics-1.0 (Jiang et al., CVPR 2020), with its FaceForensics++ clips",
        terms="research only, on request",
        # A fake shows the clip of FaceForensics++ of the first number with the face of an actor. The lists
        # hold names of fakes; the actors' own recordings and those clips follow the fakes of their source.
        files=(
            Files(
                pattern=ANYWHERE + r"source_videos/(?:.*/)?(?P<donor>[MW]\d{3})(?P<scene>\w+)\.mp4",
                columns=REAL | {"modality": VIDEO},
            ),
            Files(
                pattern=ANYWHERE + r"original_sequences/youtube/\w+/videos/(?P<person>\d{3})\.mp4",
                columns=REAL | {"modality": VIDEO},
            ),
            Files(
                pattern=ANYWHERE
                + r"manipulated_videos/(?P<distortion>\w+)/(?:.*/)?"
                + r"(?P<person>\d{3})_(?P<donor>[MW]\d{3})\.mp4",
                key="{person}_{donor}",
                columns=FAKE | {"modality": VIDEO, "generator": "DF-VAE"},
            ),
        ),
        listings=(
            Listing(
                pattern=ANYWHERE + r"splits/(?P<split>train|val|test)\.txt",
                reader=Fields(columns=("_name",)),
                keys=("{_name}",),
                columns={"split": "{split}", "_name": "{_name}"},
                words={"_name": ((r"(.+?)(?:\.mp4)?", r"\1"),)},
            ),
        ),
        groups=("person", "donor"),
    ),
    Layout(
        name="fakeavceleb",
        summary="FakeAVCeleb (Khalid et al., NeurIPS 2021); fake = its pictures or its voice is",
        terms="research only, on request",
        files=(
            Files(
                pattern=ANYWHERE + r"(?P<_file>(?:Real|Fake)Video-(?:Real|Fake)Audio/.+\.mp4)",
                key="{_file}",
                columns={"modality": "av"},
            ),
        ),
        # As published, the header has a name too few: the column "path" holds the file, the next its folder.
        listings=(
            Listing(
                pattern=ANYWHERE + r"meta_data\.csv",
                reader=Fields(
                    columns=(
                        *("person", "donor", "donor2", "method", "category", "type"),
                        *("race", "gender", "_name", "_folder"),
                    ),
                    delimiter=",",
                    header=("source", "target1", "target2", "method", "category", "type", "race", "gender"),
                ),
                keys=("{_folder}/{_name}",),
                columns={
                    "label": "{type}",
                    "generator": "{method}",
                    "video_label": "{type}",
                    "audio_label": "{type}",
                    "_folder": "{_folder}",
                    **{name: f"{{{name}}}" for name in ("person", "donor", "donor2", "race", "gender")},
                },
                words={
                    "label": (
                        ("RealVideo-RealAudio", "real"),
                        (r"(?:Real|Fake)Video-(?:Real|Fake)Audio", "fake"),
                    ),
                    "video_label": (("RealVideo-.+", "real"), ("FakeVideo-.+", "fake")),
                    "audio_label": ((".+-RealAudio", "real"), (".+-FakeAudio", "fake")),
                    "donor": (("-", ""), (r"(\w+)", r"\1")),
                    "donor2": (("-", ""), (r"(\w+)", r"\1")),
                    "_folder": ((r"(?:.*/)?((?:Real|Fake)Video-\w+Audio/.+?)/?", r"\1"),),
                },
            ),
        ),
        listed_only=True,
        groups=("person", "donor", "donor2"),
    ),
    Layout(
        name="deepfakebench",
        summary="Frames with the JSON of DeepfakeBench (Yan et al., NeurIPS 2023) or of DF40 (NeurIPS 2024)",
        terms="those of each data set in it",
        files=(Files(pattern=r"(?P<_frame>.+\.(?:png|jpe?g))", key="{_frame}", columns={"modality": IMAGE}),),
        # Paths are kept from the folder of data sets on (``datasets/rgb`` there). Validation frames are test
        # frames in many of these lists; such a frame is a test frame here.
        listings=(
            Listing(
                pattern=r"(?:dataset_json/)?[^/]+\.json",
                reader=Nested(
                    shapes=(
                        ("_set", "_method", "split", "_video"),
                        ("_set", "_method", "split", "compression", "_video"),
                    ),
                    fields=("label", "frames", "compression"),
                    each="frames",
                ),
                keys=("{_listed}",),
                columns={
                    "label": "{label}",
                    "generator": "{label}",
                    "split": "{split}",
                    "compression": "{compression}",
                    "person": "{_video}",
                    "donor": "{_video}",
                    "_listed": "{frames}",
                },
                words={
                    "label": ((r"(?:.*[_-])?real", "real"), (r"(?:.*[_-])?fake[AB]?|FF-\w+", "fake")),
                    "generator": ((r"(.*?)[_-]?(?:fake[AB]?|real)", r"\1"), (r"(FF-\w+)", r"\1")),
                    "split": SPLITS,
                    "person": (
                        (r"(\d{3})_\d{3}", r"\1"),
                        (r"(id\d+)(?:_id\d+)?_\d+", r"\1"),
                        (r"(.+?)(?:[_-]fake)?", r"\1"),
                    ),
                    "donor": ((r"\d{3}_(\d{3})", r"\1"), (r"id\d+_(id\d+)_\d+", r"\1"), (".*", "")),
                    "_listed": (
                        (r"(?:.*[/\\])?(?:datasets[/\\]rgb|deepfakes_detection_datasets)[/\\](.+)", r"\1"),
                        (r"(?:\.[/\\])?(.+)", r"\1"),
                    ),
                },
            ),
        ),
        listed_only=True,
        groups=("person", "donor"),
        outranks=(("test", "val"),),
    ),
)
