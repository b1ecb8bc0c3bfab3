"""That a test can reach neither the network nor the data of an installation."""

import os
import socket

import pytest

from core.settings import settings


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("example.org", 80), ("2001:db8::1", 9)])
def test_no_connection_leaves_this_machine(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        for method in (sock.connect, sock.connect_ex):
            with pytest.raises(AssertionError, match="tried to connect"):
                method(address)
    with pytest.raises(AssertionError, match="tried to"):
        socket.create_connection(address, timeout=1)


def test_loopback_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_settings_are_of_this_test_alone(tmp_path):
    assert settings().data_dir == tmp_path / "lacuna"
    assert [n for n in os.environ if n.startswith("LACUNA_")] == ["LACUNA_DATA_DIR"]


def test_the_hub_is_offline():
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE
