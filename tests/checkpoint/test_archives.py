"""Archives: what is accepted unpacks the same from every container; every refusal leaves nothing behind."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.checkpoint import archives
from core.checkpoint.archives import extract
from core.errors import UserError

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(range(256)) * 40,
    "sub/tokenizer.json": b"{}",
}
BIG = 1 << 30


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def tar_entry(name: str, data: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def make_tar(path: Path, entries, mode: str = "w", **options) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path


def make(kind: str, path: Path, files: dict[str, bytes]) -> Path:
    if kind == "zip":
        return make_zip(path, files)
    return make_tar(path, [tar_entry(n, d) for n, d in files.items()], "w:gz" if kind == "tar.gz" else "w")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(tmp_path):
    """Asserts that an archive is refused with these words and that its folder is as it was."""
    place = tmp_path / "place"
    place.mkdir()

    def check(archive: Path, *words: str, max_bytes: int = BIG) -> UserError:
        with pytest.raises(UserError) as caught:
            extract(archive, place / "into", max_bytes)
        assert list(place.iterdir()) == []
        for word in words:
            assert word in str(caught.value), str(caught.value)
        assert caught.value.what and caught.value.todo
        return caught.value

    return check


# --------------------------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("nesting", ["", "model/", "a/b/c/"])
def test_every_container_gives_the_same_folder(tmp_path, kind, nesting):
    # A misleading suffix: the content decides.
    archive = make(kind, tmp_path / "upload.bin", {nesting + name: data for name, data in FILES.items()})
    top = extract(archive, tmp_path / "out", BIG)
    assert contents(top) == FILES
    assert top == tmp_path / "out" / nesting
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "upload.bin"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_clutter_of_desktops_is_left_out_and_looked_past(tmp_path, kind):
    files = {"m/" + name: data for name, data in FILES.items()}
    clutter = {"__MACOSX/m/._config.json": b"x", ".DS_Store": b"x", "m/.DS_Store": b"x", "m/._model": b"x"}
    top = extract(make(kind, tmp_path / "a", clutter | files), tmp_path / "out", BIG)
    assert top.name == "m" and contents(top) == FILES


def test_windows_separators_and_names_that_differ_in_case_only(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"m\\config.json": b"1", "m\\Config.json": b"2"})
    assert contents(extract(archive, tmp_path / "out", BIG)) == {"config.json": b"1", "Config.json": b"2"}


def test_executable_bits_are_dropped(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [tar_entry("run.sh", b"#!", mode=0o7777), tar_entry("b", b"")])
    top = extract(archive, tmp_path / "out", BIG)
    assert not stat.S_IMODE((top / "run.sh").stat().st_mode) & 0o7111


def test_progress_ends_at_the_size_of_the_archive_and_may_stop_the_work(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [tar_entry(str(i), os.urandom(3 << 20)) for i in range(3)])
    seen = []
    extract(archive, tmp_path / "out", BIG, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and len(seen) == 9
    assert all(total == archive.stat().st_size >= done for done, total in seen)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / "out2", BIG, stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "out"]


def test_what_a_killed_process_left_goes_with_the_next_attempt(tmp_path):
    left = tmp_path / ".out.unpacking"
    left.mkdir()
    (left / "old").write_text("old")
    assert contents(extract(make_zip(tmp_path / "a.zip", FILES), tmp_path / "out", BIG)) == FILES
    assert not left.exists()


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    with pytest.raises(UserError, match="exists already"):
        extract(make_zip(tmp_path / "a.zip", FILES), tmp_path / "out", BIG)
    assert contents(tmp_path / "out") == {"kept": b"kept"}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_large_archive_never_sits_in_memory(tmp_path, kind):
    size = 200 << 20
    archive = tmp_path / "large"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out, out.open("w.bin", "w", force_zip64=True) as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    else:
        # Compression level 0 keeps the ratio at one: this is not the test of bombs.
        options = {"compresslevel": 0} if kind == "tar.gz" else {}
        with tarfile.open(archive, "w:gz" if options else "w", **options) as out, open("/dev/zero", "rb") as zeros:
            out.addfile(tar_entry("w.bin", size=size)[0], zeros)
    tracemalloc.start()
    try:
        top = extract(archive, tmp_path / "out", BIG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (top / "w.bin").stat().st_size == size
    assert peak < 8 << 20
    shutil.rmtree(tmp_path / "out")
    archive.unlink()


# ----------------------------------------------------------------------------------------------- hostile paths

UNSAFE = {
    "../evil": "leads out of the folder",
    "a/../../evil": "leads out of the folder",
    "..\\evil": "leads out of the folder",
    "/etc/evil": "is an absolute path",
    "\\\\host\\evil": "is an absolute path",
    "C:\\evil": "drive letter",
    "c:evil": "drive letter",
    "a\nb": "control character",
    "d/" * 40 + "x": "nested deeper",
    "n" * 300: "longer than 255 bytes",
}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_paths(tmp_path, refused, kind, name):
    refused(make(kind, tmp_path / "a", FILES | {name: b"evil"}), UNSAFE[name], "not even in part")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_nul_in_a_zip_name_does_not_hide_the_rest(tmp_path, refused):
    archive = make_zip(tmp_path / "a.zip", {"confXg.json": b"{}"})
    archive.write_bytes(archive.read_bytes().replace(b"confXg", b"conf\x00g"))
    refused(archive, "control character")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.FIFOTYPE, "neither a regular file nor a folder"),
        (tarfile.CHRTYPE, "neither a regular file nor a folder"),
        (tarfile.BLKTYPE, "neither a regular file nor a folder"),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_links_and_devices(tmp_path, refused, kind, words, mode):
    entries = [tar_entry("config.json", b"{}"), tar_entry("x", type=kind, linkname="config.json")]
    refused(make_tar(tmp_path / "a", entries, mode), words)


@pytest.mark.parametrize(("file_type", "words"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "device or socket")])
def test_zip_links_and_devices(tmp_path, refused, file_type, words):
    info = zipfile.ZipInfo("weights")
    info.external_attr = (file_type | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", words)


def test_sparse_tar_entries(tmp_path, refused):
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    entry = tar_entry("w", b"1\n0\n4\n".ljust(512, b"\0") + b"data", pax_headers=headers)
    refused(make_tar(tmp_path / "pax", [entry], format=tarfile.PAX_FORMAT), "is a sparse file")
    # As GNU tar -S writes it.
    refused(make_tar(tmp_path / "gnu", [tar_entry("w", b"data", type=tarfile.GNUTYPE_SPARSE)]), "is a sparse file")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_occur_twice_or_clash(tmp_path, refused, kind):
    def write(name: str, *names: str) -> Path:
        if kind == "tar":
            return make_tar(tmp_path / name, [tar_entry(n, b"x") for n in names])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for entry in names:
                    archive.writestr(entry, b"x")
        return tmp_path / name

    refused(write("same", "m/config.json", "m/config.json"), "occurs twice")
    refused(write("alias", "m/config.json", "m/./config.json"), "occurs twice")
    refused(write("file-then-folder", "m", "m/config.json"), "both a file and a folder")
    refused(write("folder-then-file", "m/config.json", "m"), "clashes")


# ------------------------------------------------------------------------------------------------------- bombs


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_the_cap_counts_what_is_really_unpacked(tmp_path, refused, kind):
    archive = make(kind, tmp_path / "a", {str(i): os.urandom(20_000) for i in range(5)})
    assert extract(archive, tmp_path / "fits", 100_000).is_dir()
    refused(archive, "unpacks to more than 60.0 kB", "LACUNA_MAX_UNPACKED_GB", max_bytes=60_000)


def lying_zip(path: Path, data: bytes, says: int) -> Path:
    """A zip whose two headers understate the unpacked size."""
    make_zip(path, {"w": data})
    raw = bytearray(path.read_bytes())
    true = struct.pack("<L", len(data))
    assert raw.count(true) == 2
    path.write_bytes(raw.replace(true, struct.pack("<L", says)))
    return path


def test_a_zip_that_lies_about_its_size(tmp_path, refused):
    refused(lying_zip(tmp_path / "a.zip", os.urandom(50_001), 10), "damaged")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_by_ratio(tmp_path, refused, kind, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FLOOR", 1 << 20)
    archive = make(kind, tmp_path / "a", {"w": bytes(8 << 20)})
    assert archive.stat().st_size < 20_000
    refused(archive, "more than 100 times its size", "bomb")


def test_a_gzip_bomb_behind_the_end_of_the_tar(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FLOOR", 1 << 20)
    tar = make_tar(tmp_path / "a.tar", [tar_entry("config.json", b"{}")]).read_bytes()
    (tmp_path / "a").write_bytes(gzip.compress(tar + bytes(8 << 20)))
    refused(tmp_path / "a", "bomb")


def test_rows_of_a_zip_table_that_share_their_data(tmp_path, refused):
    single = make_zip(tmp_path / "one.zip", {"w": os.urandom(1 << 14)}, zipfile.ZIP_STORED).read_bytes()
    end, start = single.rindex(b"PK\x05\x06"), single.rindex(b"PK\x01\x02")
    table = single[start:end] * 200
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 200, 200, len(table), start, 0)
    (tmp_path / "a.zip").write_bytes(single[:start] + table + tail)
    refused(tmp_path / "a.zip", "occurs twice")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_entries(tmp_path, refused, kind, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 50)
    extract(make(kind, tmp_path / "fits", {str(i): b"" for i in range(50)}), tmp_path / "out", BIG)
    refused(make(kind, tmp_path / "a", {str(i): b"" for i in range(51)}), "more than 50 entries")


def test_headers_that_would_fill_memory(tmp_path, refused, monkeypatch):
    entry = tar_entry("w", b"x", pax_headers={"comment": "x" * (1 << 20)})
    refused(make_tar(tmp_path / "a.tar", [entry], format=tarfile.PAX_FORMAT), "damaged", "size 1048")
    monkeypatch.setattr(archives, "MAX_ZIP_DIRECTORY", 1000)
    refused(make_zip(tmp_path / "a.zip", {f"{i}": b"" for i in range(50)}), "table of contents")


def test_a_chain_of_headers(tmp_path, refused):
    header = tar_entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)[0].tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header * 5000 + bytes(1024))
    refused(tmp_path / "a.tar", "damaged")


# ------------------------------------------------------------------------------------------ damaged, not archives


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_truncated_anywhere(tmp_path, refused, kind):
    whole = make(kind, tmp_path / "whole", {str(i): os.urandom(5000) for i in range(3)}).read_bytes()
    cut = tmp_path / "cut"
    # A tar's own end mark is 1,024 zero bytes; what pads it to a record may be missing.
    last = len(whole) if kind != "tar" else 3 * (512 + 5120)
    for length in [*range(600, last, 997), last - 1, *(range(512, last, 512) if kind == "tar" else [])]:
        cut.write_bytes(whole[:length])
        refused(cut, "damaged or cut short")


def test_a_flipped_bit(tmp_path, refused):
    for kind in ("zip", "tar.gz"):
        raw = bytearray(make(kind, tmp_path / kind, {"w": os.urandom(5000)}).read_bytes())
        raw[2500] ^= 1
        (tmp_path / "bad").write_bytes(raw)
        refused(tmp_path / "bad", "damaged")


def test_encrypted_and_strangely_compressed_zips(tmp_path, refused):
    raw = bytearray(make_zip(tmp_path / "a.zip", {"w": b"x" * 100}).read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    refused(tmp_path / "locked.zip", "encrypted", "password")
    refused(make_zip(tmp_path / "lzma.zip", {"w": b"x" * 100}, zipfile.ZIP_LZMA), "compressed with lzma")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"GGUF\x03\x00\x00\x00", "GGUF file"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "pickled PyTorch weights"),
        (struct.pack("<Q", 2) + b"{}", "bare safetensors"),
        (b"7z\xbc\xaf\x27\x1c....", "7z archive"),
        (b"<!DOCTYPE html>", "web page"),
        (b'{"a": 1}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (gzip.compress(b"{}", mtime=0), "gzip data with no tar inside"),
        (b"\x1f\x8b\x08", "damaged or cut short"),
        (b"\x00\x01\x02 what", "begins with the bytes 00 01 02"),
        (bytes(10240), "is empty"),
    ],
)
def test_not_an_archive(tmp_path, refused, data, words):
    (tmp_path / "upload.zip").write_bytes(data)
    refused(tmp_path / "upload.zip", words)


def test_a_pickled_file_that_is_a_zip(tmp_path, refused):
    refused(make_zip(tmp_path / "pytorch_model.bin", {"archive/data.pkl": b"x"}), "safe_serialization=True")


def test_an_empty_archive_and_a_missing_one(tmp_path, refused):
    refused(make_zip(tmp_path / "a.zip", {}), "is empty")
    refused(make_tar(tmp_path / "a.tar", [tar_entry("m", type=tarfile.DIRTYPE)]), "is empty")
    refused(tmp_path / "missing.zip", "There is no archive")
    refused(tmp_path, "There is no archive")


# ---------------------------------------------------------------------------------------------------- disk full


def test_disk_full_while_writing(tmp_path, refused, monkeypatch):
    archive = make_tar(tmp_path / "a.tgz", [tar_entry("w", os.urandom(3 << 20))], "w:gz")
    count = archives._Target.count

    def full(self, n_bytes):
        count(self, n_bytes)
        if self.written > 2 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives._Target, "count", full)
    refused(archive, "disk is too full", "are free", "3.1 MB")


def test_disk_full_foreseen(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    refused(make_zip(tmp_path / "a.zip", FILES), "disk is too full", "10.3 kB", "3 bytes are free")


def test_a_directory_that_is_said_to_lie_elsewhere(tmp_path, refused):
    raw = bytearray(make_zip(tmp_path / "a.zip", {"w": b"x" * 100}).read_bytes())
    end = raw.index(b"PK\x05\x06")
    for offset, size in ((0xFFFFFF00, 0), (len(raw), 0), (0, 0xFFFF), (12, 200)):
        bad = raw.copy()
        bad[end + 16 : end + 20] = struct.pack("<I", offset)
        if size:
            bad[end + 12 : end + 16] = struct.pack("<I", size)
        (tmp_path / "bad.zip").write_bytes(bad)
        refused(tmp_path / "bad.zip", "damaged or cut short")


def test_messages_name_the_archive_as_its_sender_does(tmp_path):
    for data in (b"", b"{}", b"GGUF\x03\x00\x00\x00", gzip.compress(b"{}", mtime=0), bytes(10240), b"\x1f\x8b\x08"):
        (tmp_path / "tOkEn.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"my model\.zip") as error:
            extract(tmp_path / "tOkEn.zip", tmp_path / "into", 1 << 30, name="my model.zip")
        assert "tOkEn" not in str(error.value)
