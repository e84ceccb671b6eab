"""Arrangements of published data sets of voices.

They were written from the authors' descriptions and from copies of their protocols. Nothing is guessed in
a protocol that looks otherwise: it is refused, with the file and the line.
"""

from deepscan.datasets.importing import ANYWHERE, SPLITS, Files, Layout, Listing, Rules
from deepscan.datasets.listings import Fields
from deepscan.media.encode import AUDIO

SPOKEN: Rules = (("bona-?fide", "real"), ("spoof", "fake"))

VOICES: tuple[Layout, ...] = (
    Layout(
        name="asvspoof2019-la",
        summary="ASVspoof 2019, logical access (Wang et al., Computer Speech and Language 2020)",
        terms="ODC-By",
        files=(
            Files(
                pattern=ANYWHERE + r"flac/(?P<_name>LA_[TDE]_\d+)\.flac",
                key="{_name}",
                columns={"modality": AUDIO},
            ),
        ),
        listings=(
            Listing(
                pattern=ANYWHERE + r"ASVspoof2019\.LA\.cm\.(?P<split>train|dev|eval)\.tr[nl](?:\.txt)?",
                reader=Fields(columns=("speaker", "_name", "_unused", "generator", "label")),
                keys=("{_name}",),
                columns={name: f"{{{name}}}" for name in ("speaker", "generator", "label", "split")},
                words={"label": SPOKEN, "split": SPLITS},
            ),
        ),
        listed_only=True,
        groups=("speaker",),
    ),
    Layout(
        name="asvspoof2021-la",
        summary="ASVspoof 2021, logical access (Liu et al., TASLP 2023); all of it is test",
        terms="ODC-By",
        files=(
            Files(
                pattern=ANYWHERE + r"flac/(?P<_name>LA_E_\d+)\.flac",
                key="{_name}",
                columns={"modality": AUDIO},
            ),
        ),
        listings=(
            Listing(
                pattern=ANYWHERE + r"trial_metadata\.txt",
                reader=Fields(
                    columns=("speaker", "_name", "codec", "channel", "generator", "label", "trimmed", "phase")
                ),
                keys=("{_name}",),
                columns={"split": "test"}
                | {
                    name: f"{{{name}}}"
                    for name in ("speaker", "codec", "channel", "generator", "label", "trimmed", "phase")
                },
                words={"label": SPOKEN},
            ),
        ),
        listed_only=True,
        groups=("speaker",),
    ),
    Layout(
        name="asvspoof2021-df",
        summary="ASVspoof 2021, deepfake track (Liu et al., TASLP 2023); all of it is test",
        terms="ODC-By",
        files=(
            Files(
                pattern=ANYWHERE + r"flac/(?P<_name>DF_E_\d+)\.flac",
                key="{_name}",
                columns={"modality": AUDIO},
            ),
        ),
        # As published, a line has 13 fields; the last four are empty ("-") but for some of the corpora.
        listings=(
            Listing(
                pattern=ANYWHERE + r"trial_metadata\.txt",
                reader=Fields(
                    columns=(
                        *("speaker", "_name", "codec", "corpus", "generator", "label", "trimmed", "phase"),
                        *("vocoder", "_task", "_team", "_pair", "language"),
                    )
                ),
                keys=("{_name}",),
                columns={"split": "test"}
                | {
                    name: f"{{{name}}}"
                    for name in (
                        *("speaker", "codec", "corpus", "generator", "label", "trimmed", "phase"),
                        *("vocoder", "language"),
                    )
                },
                words={"label": SPOKEN},
            ),
        ),
        listed_only=True,
        groups=("speaker",),
    ),
    Layout(
        name="asvspoof5",
        summary="ASVspoof 5, track 1 (Wang et al., 2024)",
        terms="CC BY 4.0 for most of it; see its licence file",
        files=(
            Files(
                pattern=ANYWHERE + r"flac_[TDE]\w*/(?P<_name>[TDE]_\d+)\.flac",
                key="{_name}",
                columns={"modality": AUDIO},
            ),
        ),
        # The protocols end in .tsv, but white space of any kind is between their fields.
        listings=(
            Listing(
                pattern=ANYWHERE + r"ASVspoof5\.(?P<split>train|dev|eval)(?:\.track_1)?\.tsv",
                reader=Fields(
                    columns=(
                        *("speaker", "_name", "gender", "codec", "codec_quality", "_seed"),
                        *("_tag", "generator", "label", "_unused"),
                    )
                ),
                keys=("{_name}",),
                columns={
                    name: f"{{{name}}}"
                    for name in (
                        *("speaker", "gender", "codec", "codec_quality", "generator", "label", "split"),
                    )
                },
                words={"label": SPOKEN, "split": SPLITS},
            ),
        ),
        listed_only=True,
        groups=("speaker",),
    ),
    Layout(
        name="in-the-wild",
        summary="In-the-Wild (Mueller et al., Interspeech 2022): public figures, real and cloned",
        terms="Apache-2.0",
        files=(Files(pattern=ANYWHERE + r"(?P<_name>\d+\.wav)", key="{_name}", columns={"modality": AUDIO}),),
        listings=(
            Listing(
                pattern=ANYWHERE + r"meta\.csv",
                reader=Fields(
                    columns=("_name", "speaker", "label"), delimiter=",", header=("file", "speaker", "label")
                ),
                keys=("{_name}",),
                columns={"speaker": "{speaker}", "label": "{label}"},
                words={"label": SPOKEN},
            ),
        ),
        listed_only=True,
        groups=("speaker",),
    ),
    Layout(
        name="wavefake",
        summary="WaveFake (Frank and Schoenherr, NeurIPS 2021), with the real LJ Speech and JSUT",
        terms="CC BY-SA 4.0; LJ Speech public domain; JSUT research",
        # There are two speakers, one a language, so a source is an utterance: a detector may still know the
        # speaker. What was made from sentences of Common Voice (gen_N.wav) has no real counterpart.
        files=(
            Files(
                pattern=ANYWHERE + r"wavs?/(?P<utterance>(?:LJ|BASIC5000_)\d+(?:-\d+)?)\.wav",
                columns={"label": "real", "modality": AUDIO},
            ),
            Files(
                pattern=ANYWHERE
                + r"(?P<generator>(?:ljspeech|jsut|common_voices)_\w+)/(?:.*/)?"
                + r"(?P<utterance>\w+?(?:-\d+)?)(?:_gen(?:erated)?)?\.wav",
                columns={"label": "fake", "modality": AUDIO},
            ),
        ),
        groups=("utterance",),
    ),
)
