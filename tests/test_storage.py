"""Files by path and by URI: the same answers from a disk and from PyArrow's file system in memory."""

import pathlib

import pytest
from pyarrow import fs

from deepscan import storage
from deepscan.errors import ConfigError, StorageError
from tests.full_disk import small_disk


@pytest.fixture(params=["path", "file", "mock"])
def folder(request, tmp_path):
    """A folder, given in three ways."""
    if request.param == "mock":
        return f"mock:///{tmp_path.name}"
    return storage.absolute(tmp_path.as_uri() if request.param == "file" else tmp_path)


def test_what_is_written_is_read_and_found(folder):
    for name in ("b.txt", "a #1?.txt", "in/ä b.txt"):
        storage.write(storage.join(folder, *name.split("/")), name.encode())
    found = sorted(storage.files(folder), key=lambda entry: entry.location)
    assert {storage.read(each.location).decode() for each in found} == {"b.txt", "a #1?.txt", "in/ä b.txt"}
    assert {storage.name(each.location) for each in found} == {"b.txt", "a #1?.txt", "ä b.txt"}
    assert {each.size_bytes for each in found} == {5, 9, 11}
    assert all(each.mtime_ns > 10**18 for each in found)
    assert storage.find_all([each.location for each in found]) == found
    assert {storage.parent(each.location) for each in found} == {folder, storage.join(folder, "in")}


def test_hidden_files_and_folders_and_drafts_are_left_out(folder):
    for name in (".x", ".git/y", "z"):
        storage.write(storage.join(folder, *name.split("/")), b"1")
    assert [storage.name(each.location) for each in storage.files(folder)] == ["z"]


def test_what_is_not_there(folder):
    gone = storage.join(folder, "gone")
    assert storage.find(gone) == storage.Entry(gone, None, None)
    assert not storage.is_folder(gone)
    for act in (storage.read, storage.remove, lambda location: list(storage.files(location))):
        with pytest.raises(StorageError, match=r"gone cannot be (read|deleted)"):
            act(gone)


def test_a_file_is_replaced_in_one_step_and_can_be_removed(folder):
    location = storage.join(folder, "part")
    for data in (b"one", b"two"):
        storage.write(location, data)
        assert storage.read(location) == data
    storage.remove(location)
    assert list(storage.files(folder)) == []
    assert storage.is_folder(folder)


def test_linked_folders_are_not_entered_and_linked_files_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    assert sorted(storage.name(each.location) for each in storage.files(str(tmp_path))) == ["a", "b"]


def test_what_could_not_be_written_leaves_nothing_and_the_old_stays(tmp_path):
    location = str(tmp_path / "part")
    storage.write(location, b"old")
    with small_disk(1000), pytest.raises(StorageError, match=r"part cannot be written .*too large"):
        storage.write(location, b"x" * 100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
    assert storage.read(location) == b"old"


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="out/x cannot be written"):
        storage.write(str(tmp_path / "out" / "x"), b"")


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ("/a/../b/", "/b"),
        ("file:///a%20b/c", "/a b/c"),
        ("s3://bucket/a/?region=x", "s3://bucket/a?region=x"),
        ("gs://bucket", "gs://bucket"),
    ],
)
def test_locations_mean_the_same_everywhere(given, location, monkeypatch, tmp_path):
    assert storage.absolute(given) == location
    monkeypatch.chdir(tmp_path)
    assert storage.absolute(pathlib.Path("x")) == str(tmp_path / "x")


def test_parts_of_a_uri_keep_its_options():
    base = "s3://bucket/a?region=x"
    assert storage.join(base, "b c", "d") == "s3://bucket/a/b%20c/d?region=x"
    assert storage.parent("s3://bucket/a/b%20c?region=x") == base
    assert storage.name("s3://bucket/a/b%20c?region=x") == "b c"


def test_buckets_and_keys_are_told_apart():
    options = "?region=x&endpoint_override=127.0.0.1%3A9&scheme=http"
    filesystem, path = storage.locate(f"s3://bucket/a/b%20c.png{options}")
    assert isinstance(filesystem, fs.S3FileSystem)
    assert (filesystem.region, path) == ("x", "bucket/a/b c.png")
    assert storage.locate(f"s3://bucket/d{options}")[0] is filesystem, "one connection a bucket"
    assert storage.locate(f"s3://bucket{options}")[1] == "bucket"


def test_an_unknown_scheme_and_a_password_are_refused():
    with pytest.raises(ConfigError, match="zz://a/ is no location"):
        storage.locate("zz://a/b")
    with pytest.raises(ConfigError, match="leave it to the environment") as refused:
        storage.absolute("s3://me:secret@bucket/a")
    assert "secret" not in str(refused.value)
