"""Files that show and say nothing a detector of fakes could judge, made with a seed."""

import io
import string
import wave
from collections.abc import Callable, Iterator

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.genuine import Pixels, rounded, saved

Rng = np.random.Generator
Sound = NDArray[np.floating]

RATE_HZ = 16_000
FRAMES, FPS = 50, 25


def white_noise(rng: Rng) -> Pixels:
    """Return noise, in colour or in grey, of some strength about some tone."""
    height, width = _size(rng)
    values = rng.normal(rng.uniform(60, 200), rng.uniform(20, 90), (height, width, rng.choice([1, 3])))
    return rounded(np.broadcast_to(values, (height, width, 3)))


def clouds(rng: Rng) -> Pixels:
    """Return noise whose amplitude falls with frequency, as in nature, and that shows nothing."""
    height, width = _size(rng)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) + 1 / width
    spectrum = np.fft.fft2(rng.normal(size=(3, height, width))) * radius ** -rng.uniform(0.8, 1.6)
    plane = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    plane = plane @ (0.7 * np.full((3, 3), 1 / 3) + 0.3 * np.eye(3))
    return rounded(128 + plane / plane.std() * rng.uniform(20, 60))


def gradient(rng: Rng) -> Pixels:
    """Return a plane of colour that runs from one to another."""
    height, width = _size(rng)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    ramp = np.cos(angle) * x + np.sin(angle) * y
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    first, last = rng.uniform(0, 255, (2, 3))
    return rounded(first + ramp[..., None] * (last - first))


def drawing(rng: Rng) -> Pixels:
    """Return plain shapes on a plain ground."""
    height, width = _size(rng)
    image = Image.new("RGB", (width, height), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 16)):
        x, y = np.sort(rng.integers(0, width, 2)), np.sort(rng.integers(0, height, 2))
        box = [int(x[0]), int(y[0]), int(x[1]) + 2, int(y[1]) + 2]
        shape = rng.choice([draw.ellipse, draw.rectangle])
        shape(box, fill=_colour(rng), outline=_colour(rng), width=int(rng.integers(0, 6)))
    return np.asarray(image)


def drawn_face(rng: Rng) -> Pixels:
    """Return a face as a child would draw it, large in the middle."""
    height, width = _size(rng)
    image = Image.new("RGB", (width, height), _colour(rng))
    draw = ImageDraw.Draw(image)
    skin = tuple(int(v) for v in np.array([224, 178, 144]) * rng.uniform(0.5, 1.1))
    cx, cy, r = width / 2, height / 2, min(width, height) * rng.uniform(0.3, 0.42)
    draw.ellipse([cx - 0.8 * r, cy - r, cx + 0.8 * r, cy + r], fill=skin, outline=(20, 20, 20), width=2)
    for side in (-1, 1):
        x, y, e = cx + side * 0.35 * r, cy - 0.2 * r, 0.13 * r
        draw.ellipse([x - 1.4 * e, y - e, x + 1.4 * e, y + e], fill=(250, 250, 250), outline=(30, 30, 30))
        draw.ellipse([x - 0.6 * e, y - 0.6 * e, x + 0.6 * e, y + 0.6 * e], fill=(40, 30, 20))
        draw.line(
            [x - 1.5 * e, y - 2 * e, x + 1.5 * e, y - 2.2 * e], fill=(50, 35, 20), width=max(2, int(r / 20))
        )
    draw.line(
        [cx, cy - 0.1 * r, cx - 0.1 * r, cy + 0.2 * r, cx + 0.08 * r, cy + 0.2 * r],
        fill=(120, 80, 60),
        width=2,
    )
    draw.ellipse([cx - 0.3 * r, cy + 0.42 * r, cx + 0.3 * r, cy + 0.58 * r], fill=(170, 60, 60))
    return np.asarray(image)


def text_screen(rng: Rng) -> Pixels:
    """Return lines of letters on a plain ground, as a terminal or a page shows them."""
    height, width = _size(rng)
    dark = bool(rng.integers(2))
    image = Image.new("RGB", (width, height), (18, 18, 24) if dark else (250, 250, 248))
    _write(
        ImageDraw.Draw(image), (8, 8, width - 8, height - 8), (220, 220, 210) if dark else (20, 20, 20), rng
    )
    return np.asarray(image)


def page(rng: Rng) -> Pixels:
    """Return something like a window: bars, boxes, buttons and text."""
    height, width = _size(rng)
    image = Image.new("RGB", (width, height), (245, 246, 250))
    draw = ImageDraw.Draw(image)
    bar, side = height // 10, width // 5
    draw.rectangle([0, 0, width, bar], fill=_colour(rng))
    draw.rectangle([0, bar, side, height], fill=(226, 228, 235))
    _write(draw, (6, bar + 8, side - 4, height), (60, 60, 70), rng)
    y = bar + 10
    while y < height - 30:
        tall = int(rng.integers(30, 90))
        draw.rectangle([side + 10, y, width - 10, y + tall], fill=(255, 255, 255), outline=(205, 205, 210))
        _write(draw, (side + 18, y + 6, width - 80, y + tall), (40, 40, 45), rng)
        draw.rectangle([width - 70, y + 8, width - 20, y + 24], fill=_colour(rng))
        y += tall + 10
    return np.asarray(image)


def texture(rng: Rng) -> Pixels:
    """Return a pattern that repeats: waves across each other, in two colours."""
    height, width = _size(rng)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    angles, periods = rng.uniform(0, np.pi, 2), rng.uniform(4, 40, 2)
    waves = [
        np.sin((np.cos(a) * x + np.sin(a) * y) * 2 * np.pi / p) for a, p in zip(angles, periods, strict=True)
    ]
    mix = (waves[0] * waves[1] if rng.integers(2) else np.sign(waves[0] + waves[1])) / 2 + 0.5
    first, last = rng.uniform(0, 255, (2, 3))
    return rounded(
        first + mix[..., None] * (last - first) + rng.normal(0, rng.uniform(0, 8), (height, width, 1))
    )


PICTURES: dict[str, Callable[[Rng], Pixels]] = {
    "noise": white_noise,
    "clouds": clouds,
    "gradient": gradient,
    "drawing": drawing,
    "drawn face": drawn_face,
    "text screen": text_screen,
    "page": page,
    "texture": texture,
}


def silence(rng: Rng) -> Sound:
    """Return nothing but the faintest noise of a recorder."""
    return rng.normal(0, rng.choice([0, 1e-5, 1e-4]), _samples(rng))


def tones(rng: Rng) -> Sound:
    """Return steady tones, one or a few at once."""
    t = np.arange(_samples(rng)) / RATE_HZ
    found = sum(
        np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in rng.uniform(100, 4000, rng.integers(1, 5))
    )
    return _level(np.asarray(found), rng)


def white_sound(rng: Rng) -> Sound:
    """Return noise of equal power at all frequencies."""
    return _level(rng.normal(size=_samples(rng)), rng)


def pink_sound(rng: Rng) -> Sound:
    """Return noise whose power falls with frequency."""
    samples = _samples(rng)
    shape = np.maximum(np.fft.rfftfreq(samples, 1 / RATE_HZ), 20) ** -rng.uniform(0.4, 1)
    return _level(np.fft.irfft(np.fft.rfft(rng.normal(size=samples)) * shape, samples), rng)


def clicks(rng: Rng) -> Sound:
    """Return single clicks, regular or not."""
    wave_N = rng.normal(0, 1e-4, _samples(rng))
    at = rng.integers(0, len(wave_N) - 200, rng.integers(4, 60))
    for start in at:
        wave_N[start : start + 200] += rng.choice([-1, 1]) * np.exp(-np.arange(200) / rng.uniform(3, 40))
    return _level(wave_N, rng)


def music(rng: Rng) -> Sound:
    """Return chords of plucked or held harmonics over drums."""
    beat = int(RATE_HZ * 60 / rng.uniform(70, 160))
    wave_N = np.zeros(_samples(rng))
    scale = 55 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11]) / 12 + rng.integers(1, 3))
    decay_s, faint = rng.uniform(0.2, 3), rng.uniform(0.1, 0.6)
    for start in range(0, len(wave_N), beat):
        length = min(2 * beat, len(wave_N) - start)
        t = np.arange(length) / RATE_HZ
        for pitch_hz in rng.choice(scale, 3, replace=False) * rng.choice([1, 2, 4]):
            harmonics = [np.sin(2 * np.pi * pitch_hz * n * t) / n for n in range(1, 8) if pitch_hz * n < 7800]
            wave_N[start : start + length] += np.sum(harmonics, axis=0) * np.exp(-t / decay_s)
        hit = rng.normal(size=length) * np.exp(-t / 0.03) + 3 * np.sin(2 * np.pi * 60 * t) * np.exp(-t / 0.08)
        wave_N[start : start + length] += 3 * faint * hit
    return _level(wave_N, rng)


SOUNDS: dict[str, Callable[[Rng], Sound]] = {
    "silence": silence,
    "tones": tones,
    "white noise": white_sound,
    "pink noise": pink_sound,
    "clicks": clicks,
    "music": music,
}


def picture_files(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield kind, name and bytes of pictures, as JPEG of several qualities and as PNG."""
    for kind, make in PICTURES.items():
        for number in range(count):
            rng = np.random.default_rng([seed, *kind.encode(), number])
            quality = rng.choice([0, 60, 80, 95])
            picture = make(rng)
            yield kind, f"{kind}-{number}.{'jpg' if quality else 'png'}", saved(picture, int(quality) or None)


def sound_files(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield kind, name and bytes of sounds, as WAV."""
    for kind, make in SOUNDS.items():
        for number in range(count):
            wave_N = make(np.random.default_rng([seed, *kind.encode(), number]))
            yield kind, f"{kind}-{number}.wav", wav(wave_N)


def clip_files(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield kind, name and bytes of clips: kinds of pictures that move, with kinds of sound by turns."""
    sounds = list(SOUNDS.values())
    for kind, make in PICTURES.items():
        for number in range(count):
            rng = np.random.default_rng([seed, 1, *kind.encode(), number])
            yield kind, f"{kind}-{number}.mp4", clip(make(rng), sounds[number % len(sounds)](rng), rng)


def wav(wave_N: Sound) -> bytes:
    """Return sound in [-1, 1] as the bytes of a WAV file."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(_int16(wave_N).tobytes())
    return stream.getvalue()


def clip(picture_HWC: Pixels, wave_N: Sound, rng: Rng) -> bytes:
    """Return a clip of a picture that drifts, with sound, as the bytes of an MP4 file."""
    stream = io.BytesIO()
    height, width = (side // 2 * 2 for side in picture_HWC.shape[:2])
    step = rng.integers(-4, 5, 2)
    with av.open(stream, "w", format="mp4") as container:
        shown = container.add_stream("libx264", FPS, options={"crf": "23", "preset": "ultrafast"})
        shown.width, shown.height, shown.pix_fmt = width, height, "yuv420p"
        heard = container.add_stream("aac", RATE_HZ, layout="mono")
        for number in range(FRAMES):
            moved = np.roll(picture_HWC[:height, :width], tuple(step * number), (0, 1))
            container.mux(shown.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), "rgb24")))
        container.mux(shown.encode())
        samples = _int16(np.resize(wave_N, FRAMES * RATE_HZ // FPS))
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler("fltp", "mono", RATE_HZ, heard.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(heard.encode(part))
        container.mux(heard.encode())
    return stream.getvalue()


def _size(rng: Rng) -> tuple[int, int]:
    return int(rng.integers(200, 520)), int(rng.integers(200, 520))


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _write(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], ink: tuple[int, int, int], rng: Rng
) -> None:
    letters = np.array(list(string.ascii_letters + "    .,"))
    font = ImageFont.load_default(size=int(rng.integers(9, 20)))
    tall = int(font.size * 1.3)
    for y in range(box[1], box[3] - tall, tall):
        line = "".join(rng.choice(letters, int((box[2] - box[0]) / font.size * 1.7 * rng.uniform(0.4, 1))))
        draw.text((box[0], y), line, fill=ink, font=font)


def _samples(rng: Rng) -> int:
    return int(rng.uniform(2, 8) * RATE_HZ)


def _level(wave_N: Sound, rng: Rng) -> Sound:
    loud = wave_N / (np.sqrt(np.mean(wave_N**2)) + 1e-12) * 10 ** (rng.uniform(-35, -15) / 20)
    return np.clip(loud, -1, 1)


def _int16(wave_N: Sound) -> NDArray[np.int16]:
    return np.rint(np.clip(wave_N, -1, 1) * 32767).astype(np.int16)
