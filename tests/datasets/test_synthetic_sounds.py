import json
import logging

import numpy as np
import pytest
from scipy import signal
from scipy.io import wavfile
from sklearn.metrics import roc_auc_score

from deepscan.datasets.layout import scan
from deepscan.datasets.split import assign
from deepscan.datasets.synthetic import KINDS, Order
from deepscan.datasets.synthetic import sounds as made
from deepscan.datasets.synthetic.voice import (
    CURVE_HZ,
    RATE_HZ,
    Speaker,
    draw_room,
    draw_speaker,
    record,
    speak,
)
from deepscan.errors import DataError
from deepscan.media.encode import encode_wav
from deepscan.media.vocode import VOCODERS, pitch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds") / "set"
    KINDS["audio"](Order(out=folder, count=60, seed=4), None)
    return folder


def voice(**changes):
    steady = {"pitch_hz": 120.0, "tract": 1.0, "jitter": 0.0, "shimmer": 0.0, "breath": 0.01, "pace_hz": 4.0}
    return Speaker(**steady | changes)


def envelope(wave):
    return np.sqrt(np.mean(wave[: wave.size // 80 * 80].reshape(-1, 80) ** 2, 1))


# --- voice ---------------------------------------------------------------------------------------


def test_a_voice_is_as_long_as_asked_and_bounded():
    speech = speak(voice(), 2.5, np.random.default_rng(0))
    assert (speech.wave_N.dtype, speech.wave_N.shape) == (np.float32, (int(2.5 * RATE_HZ),))
    assert np.abs(speech.wave_N).max() == pytest.approx(0.9)
    assert speech.opening_K.shape == (int(2.5 * CURVE_HZ),)
    assert 0 <= speech.opening_K.min() < 0.05
    assert 0.7 < speech.opening_K.max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_the_sound_is_loud_when_the_mouth_is_open(seed):
    rng = np.random.default_rng(seed)
    speech = speak(draw_speaker(rng), 4, rng)
    opening, loud = speech.opening_K, envelope(speech.wave_N)
    lags = range(-20, 21)
    match = [np.corrcoef(opening[20:-20], np.roll(loud, -lag)[20:-20])[0, 1] for lag in lags]
    assert max(match) > 0.75
    assert abs(lags[int(np.argmax(match))]) <= 2


@pytest.mark.parametrize("hz", [100.0, 180.0])
def test_the_pitch_is_the_speakers(hz):
    found = pitch(speak(voice(pitch_hz=hz), 4, np.random.default_rng(1)).wave_N)
    assert np.median(found[found > 0]) == pytest.approx(hz, rel=0.12)
    assert np.ptp(found[found > 0]) > 0.1 * hz


def test_a_shorter_tract_moves_the_spectrum_up():
    def centre_hz(tract):
        wave = speak(voice(tract=tract), 4, np.random.default_rng(2)).wave_N
        hz, power = signal.welch(wave, RATE_HZ, nperseg=1024)
        band = (hz > 200) & (hz < 4000)
        return np.sum(hz[band] * power[band]) / power[band].sum()

    assert centre_hz(1.2) > 1.1 * centre_hz(1.0)


def test_a_recording_has_the_rooms_level_noise_and_echo():
    rng = np.random.default_rng(3)
    room = draw_room(rng)
    click = np.zeros(RATE_HZ, np.float32)
    click[1000] = 1
    heard = record(click, room, rng)
    assert heard.argmax() == 1000
    assert np.sum(heard[1001:6000] ** 2) / heard[1000] ** 2 == pytest.approx(
        np.sum(room.echo_N[1:] ** 2), rel=0.1
    )
    speech = record(speak(voice(), 3, rng).wave_N, room, rng)
    assert speech.std() == pytest.approx(room.rms, rel=0.01)


# --- the set of made-up voices -------------------------------------------------------------------


def pairs(folder):
    """(real, fake, generator) of each source, as floats."""
    by_source = {}
    for row in scan(folder).to_pylist():
        by_source.setdefault(row["source"], {})[row["label"]] = row
    for found in by_source.values():
        rates, waves = zip(*(wavfile.read(found[label]["path"]) for label in (0, 1)), strict=True)
        assert rates == (RATE_HZ, RATE_HZ)
        yield waves[0] / 32767, waves[1] / 32767, found[1]["generator"]


def test_all_vocoders_take_turns_and_sources_stay_together(folder):
    table = assign(scan(folder))
    names = table["generator"].to_pylist()
    assert {name: names.count(name) for name in set(names)} == {"": 30, **dict.fromkeys(VOCODERS, 6)}
    splits = {}
    for row in table.to_pylist():
        splits.setdefault(row["source"], set()).add(row["split"])
    assert {len(found) for found in splits.values()} == {1}


def test_nothing_simple_tells_the_classes_apart(folder):
    facts = {"level": [], "peak": [], "length": [], "beginning": [], "pauses": []}
    labels = []
    for *waves, _ in pairs(folder):
        for label, wave in enumerate(waves):
            loud = envelope(wave)
            labels.append(label)
            facts["level"].append(wave.std())
            facts["peak"].append(np.abs(wave).max())
            facts["length"].append(wave.size)
            facts["beginning"].append(loud[:10].mean())
            facts["pauses"].append(np.quantile(loud, 0.05) / loud.mean())
    aucs = {name: roc_auc_score(labels, values) for name, values in facts.items()}
    assert aucs["length"] == 0.5
    assert all(0.25 < auc < 0.75 for auc in aucs.values()), aucs


def test_a_fake_says_the_same_in_other_samples(folder):
    for real, fake, _ in pairs(folder):
        assert np.corrcoef(envelope(real), envelope(fake))[0, 1] > 0.7
        assert abs(np.corrcoef(real, fake)[0, 1]) < 0.9
        assert fake.std() <= 1.01 * real.std()


def test_the_truth_names_the_voice(folder):
    known = json.loads((folder / "truth" / "00001.json").read_text())
    assert list(known) == ["real/00001.wav", "fake/griffin-lim-40/00001.wav"]
    rate_hz, wave = wavfile.read(folder / "real/00001.wav")
    truth = known["real/00001.wav"]
    found = pitch(np.float32(wave / 32767))
    assert truth["duration_s"] == wave.size / rate_hz
    assert np.median(found[found > 0]) == pytest.approx(truth["pitch_hz"], rel=0.15)


def test_a_smaller_set_is_the_beginning_of_a_larger_one_and_seeds_differ(folder, tmp_path):
    for name, seed in (("same", 4), ("other", 5)):
        KINDS["audio"](Order(out=tmp_path / name, count=4, seed=seed), None)
    for path in sorted((tmp_path / "same").rglob("*.wav")):
        part = path.relative_to(tmp_path / "same")
        assert path.read_bytes() == (folder / part).read_bytes() != (tmp_path / "other" / part).read_bytes()


# --- copies of a user's own ----------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path):
    """Two good recordings in two splits, a silent, a short and a broken one, and a fake."""
    rng = np.random.default_rng(6)
    spoken = [speak(draw_speaker(rng), 1, rng).wave_N for _ in range(2)]
    files = {
        "train/real/anna.wav": encode_wav(spoken[0]),
        "test/real/bert.wav": encode_wav(np.repeat(spoken[1], 2), 32_000),
        "train/real/short.wav": encode_wav(spoken[0][:4000]),
        "train/real/silent.wav": encode_wav(np.zeros(RATE_HZ, np.float32)),
        "train/real/broken.wav": b"RIFFtrouble",
        "train/fake/carl.wav": encode_wav(spoken[1]),
    }
    for name, data in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "own"


def test_real_recordings_are_copied_by_every_vocoder_in_their_splits(recordings, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        manifest = KINDS["copy"](Order(out=tmp_path / "copies", recordings=recordings), None)
    rows = scan(manifest).to_pylist()
    assert sorted((row["split"], row["source"], row["generator"]) for row in rows) == sorted(
        (split, f"{split}/real/{name}", generator)
        for split, name in (("train", "anna"), ("test", "bert"))
        for generator in ("", *VOCODERS)
    )
    assert all(name in caplog.text for name in ("short.wav", "silent.wav", "broken.wav"))
    assert "carl" not in caplog.text
    original = wavfile.read(recordings / "train/real/anna.wav")[1]
    copied = next(row["path"] for row in rows if row["source"].endswith("anna") and not row["label"])
    np.testing.assert_allclose(wavfile.read(copied)[1], original, atol=1)


def test_copies_are_as_long_and_no_louder_than_the_recording(recordings, tmp_path):
    KINDS["copy"](Order(out=tmp_path / "copies", recordings=recordings), None)
    files = {
        str(path.relative_to(tmp_path / "copies")): wavfile.read(path)
        for path in (tmp_path / "copies").rglob("*.wav")
    }
    for name, (rate_hz, wave) in files.items():
        _, real = files[f"real/{name[-9:]}"]
        assert (rate_hz, wave.size) == (RATE_HZ, RATE_HZ) == (RATE_HZ, real.size)
        assert 0.5 * real.std() < wave.std() < 1.01 * real.std()


def test_of_a_long_recording_the_beginning_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "COPIED_S", (0.1, 0.25))
    path = tmp_path / "own" / "real" / "long.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_wav(speak(voice(), 1, np.random.default_rng(0)).wave_N))
    KINDS["copy"](Order(out=tmp_path / "copies", recordings=tmp_path / "own"), None)
    assert {wavfile.read(p)[1].size for p in (tmp_path / "copies").rglob("*.wav")} == {RATE_HZ // 4}


def test_without_a_real_recording_there_is_nothing_to_copy(tmp_path):
    path = tmp_path / "own" / "fake" / "a.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="no real recordings"):
        KINDS["copy"](Order(out=tmp_path / "copies", recordings=tmp_path / "own"), None)
    assert not (tmp_path / "copies").exists()


def test_copies_of_other_recordings_go_into_another_folder(recordings, tmp_path):
    order = Order(out=tmp_path / "copies", recordings=recordings)
    KINDS["copy"](order, None)
    (recordings / "train" / "real" / "short.wav").unlink()
    with pytest.raises(DataError, match="another folder"):
        KINDS["copy"](order, None)
