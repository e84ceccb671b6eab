"""The client of benchmarks/serving_load.py against servers whose answers are known."""

import asyncio
import itertools
import json
import pathlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.client import CONNECT_FAILED, CUT_OFF, TIMED_OUT, Client, arrivals
from benchmarks.serving.loads import HOST, Load, post
from benchmarks.serving.processes import ROOT, free_ports
from deepscan.media.source import Media
from tests.material import sound_file, tone


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{shade}.jpg" for shade in (40, 200)]
    for path in paths:
        Image.new("RGB", (24, 16), (int(path.stem), 90, 90)).save(path, "JPEG")
    return tuple(map(str, paths))


class Server:
    """Answers each request of a connection by what a script says: a status, "cut" or "silence"."""

    def __init__(self, *script) -> None:
        self.script, self.bodies, self.connections = list(script), [], 0

    async def __aenter__(self) -> int:
        self.server = await asyncio.start_server(self.serve, HOST, 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_) -> None:
        self.server.close()

    async def serve(self, reader, writer) -> None:
        self.connections += 1
        while head := await self.head(reader):
            length = next(line for line in head.split("\r\n") if line.startswith("Content-Length"))
            self.bodies.append(await reader.readexactly(int(length.split(": ")[1])))
            act = self.script.pop(0) if self.script else 200
            if act == "cut":
                break
            if act != "silence":
                body = json.dumps({"probability": 0.25}).encode()
                writer.write(f"HTTP/1.1 {act} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    async def head(self, reader) -> str:
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return ""


def sent(server: Server, pictures, **given) -> Client:
    async def run() -> Client:
        async with server as port:
            load = Load(port=port, files=pictures, **{"connections": 1, "time_s": 5.0, **given})
            client = Client(load)
            await client.run()
            return client

    return asyncio.run(asyncio.wait_for(run(), 20))


def statuses(client: Client) -> Counter:
    return Counter(sample.status for sample in client.samples)


def test_a_closed_loop_keeps_its_connections_and_ends_at_its_count(pictures):
    server = Server()
    client = sent(server, pictures, connections=3, count=12)
    assert statuses(client) == {200: 12}
    assert server.connections == 3
    assert client.probabilities == {0: 0.25, 1: 0.25}
    assert all(0 <= sample.late_s <= sample.latency_s for sample in client.samples)


def test_fresh_pictures_differ_in_bytes_and_not_in_pixels(pictures):
    server = Server()
    sent(server, pictures, count=6)
    assert len(set(server.bodies)) == 6
    again = Server()
    sent(again, pictures, count=6, fresh=False)
    assert len(set(again.bodies)) == 2


def test_a_comment_leaves_the_picture_as_it_is(pictures):
    jpeg = pathlib.Path(pictures[0]).read_bytes()
    body = post(jpeg, 1).numbered(7).partition(b"\r\n\r\n")[2]
    upload = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--deepscan-load--")[0]
    assert upload != jpeg
    told = [Media.from_bytes(data, "a.jpg").facts for data in (jpeg, upload)]
    assert told[0].sha256 != told[1].sha256
    assert (told[0].width_px, told[0].kind) == (told[1].width_px, told[1].kind)
    request = post(jpeg, 1).numbered(7)
    assert int(request.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) == len(body)


def test_an_open_loop_sends_when_requests_are_due(pictures):
    client = sent(Server(), pictures, connections=8, rate_hz=400.0, count=40)
    assert statuses(client) == {200: 40}
    due_s = [sample.due_s for sample in client.samples]
    assert sorted(due_s) == list(arrivals(client.load, 400.0))
    assert all(sample.latency_s >= sample.late_s >= 0 for sample in client.samples)


def test_waiting_for_a_connection_is_part_of_the_latency_of_an_open_loop(pictures):
    client = sent(Server("silence"), pictures, rate_hz=1000.0, count=2, timeout_s=0.1)
    first, second = sorted(client.samples, key=lambda sample: sample.due_s)
    assert (first.status, second.status) == (TIMED_OUT, 200)
    assert second.late_s >= 0.09
    assert second.latency_s >= second.late_s


def test_arrivals_come_at_their_mean_rate_and_end_with_the_time(pictures):
    load = Load(port=1, files=pictures, connections=1, time_s=20.0)
    due_s = list(arrivals(load, 100.0))
    assert len(due_s) == pytest.approx(2000, rel=0.1)
    assert due_s[-1] < 20.0
    gaps_s = [later - sooner for sooner, later in itertools.pairwise(due_s)]
    mean_s = sum(gaps_s) / len(gaps_s)
    variance = sum((gap_s - mean_s) ** 2 for gap_s in gaps_s) / len(gaps_s)
    assert variance**0.5 == pytest.approx(mean_s, rel=0.1)


def test_refusals_and_broken_connections_are_told_apart(pictures):
    server = Server(200, 503, "cut", 500, 200)
    client = sent(server, pictures, count=5)
    assert [sample.status for sample in client.samples] == [200, 503, CUT_OFF, 500, 200]
    assert server.connections == 2


def test_nobody_there_is_a_failed_connection(pictures):
    load = Load(port=free_ports(1)[0], files=pictures, connections=1, count=1)
    client = Client(load)
    asyncio.run(client.run())
    assert statuses(client) == {CONNECT_FAILED: 1}


def test_other_machines_and_endless_loads_are_refused(pictures):
    with pytest.raises(SystemExit, match=r"to 127\.0\.0\.1 only"):
        Load(port=80, files=pictures, connections=1, host="192.0.2.1")
    for wrong in ({"time_s": 10_000}, {"count": 10**7}, {"connections": 0}):
        with pytest.raises(SystemExit, match="at most an hour"):
            Load(**({"port": 80, "files": pictures, "connections": 1} | wrong))


def test_a_comment_leaves_the_sound_as_it_is():
    wav = sound_file(tone(16_000)[None], "wav", "pcm_s16le", 16_000)
    body = post(wav, 1).numbered(7).partition(b"\r\n\r\n")[2]
    upload = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--deepscan-load--")[0]
    assert upload.endswith(b"JUNK\x10\0\0\0" + b"7".rjust(16, b"0"))
    assert int.from_bytes(upload[4:8], "little") == len(upload) - 8
    heard = [Media.from_bytes(data, "a.wav").sound_N for data in (wav, upload)]
    np.testing.assert_array_equal(*heard)


def test_only_jpeg_and_wav_files_make_a_load():
    with pytest.raises(SystemExit, match="JPEG and WAV"):
        post(b"\x89PNG", 1)


def test_the_client_process_reads_a_load_and_writes_what_became_of_it(pictures):
    load = Load(port=free_ports(1)[0], files=pictures, connections=1, count=1)
    assert Load.from_json(load.to_json()) == load
    command = [sys.executable, "-m", "benchmarks.serving.client"]
    said = subprocess.run(command, input=load.to_json(), cwd=ROOT, capture_output=True, text=True, check=True)
    outcome = json.loads(said.stdout)
    assert [sample[-1] for sample in outcome["samples"]] == [CONNECT_FAILED]
    assert outcome["wall_s"] > 0
