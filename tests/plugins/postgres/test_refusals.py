"""A server that lets nobody in is understood in any language; no PostgreSQL is needed."""

import re
import socket
import threading
import time

import pytest

from router_sdk.errors import StoreUnavailableError
from router_sdk.store import Store


class Refusing:
    """Answers every connection with one error, as PostgreSQL does."""

    def __init__(self, code, words):
        fields = b"".join(
            name + value.encode() + b"\0" for name, value in ((b"S", "FATAL"), (b"C", code), (b"M", words))
        )
        self._says = b"E" + (len(fields) + 5).to_bytes(4) + fields + b"\0"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self._closed = self._listener.getsockname()[1], False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with self._listener:
            while not self._closed:
                client, _ = self._listener.accept()
                with client:
                    if client.recv(4_096):
                        client.sendall(self._says)

    def close(self):
        self._closed = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        ("3D000", "Datenbank »router« existiert nicht", "make it (CREATE DATABASE)"),
        ("28000", 'роль "router" не существует', "make it (CREATE ROLE … LOGIN)"),
        ("28P01", 'ユーザー"router"のパスワード認証に失敗しました', "give the right password"),
        ("42501", "droit refusé pour la base de données", "GRANT CONNECT"),
        ("55000", "la base de datos no acepta conexiones", "allow connections"),
    ],
)
def test_a_refusal_is_told_at_once_in_any_language(tmp_path, code, words, advice):
    server = Refusing(code, words)
    began = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError, match=re.escape(advice)):
            Store(
                f"postgresql://router@127.0.0.1:{server.port}/router?sslmode=disable&gssencmode=disable"
                f"&folder={tmp_path}/a&patience_s=60"
            )
    finally:
        server.close()
    assert time.monotonic() - began < 30.0


def test_a_server_that_only_starts_is_waited_for(tmp_path):
    server = Refusing("57P03", "das Datenbanksystem startet")
    try:
        with pytest.raises(StoreUnavailableError, match=r"waited for 0\.3 s"):
            Store(
                f"postgresql://router@127.0.0.1:{server.port}/router?sslmode=disable&gssencmode=disable"
                f"&folder={tmp_path}/a&patience_s=0.3"
            )
    finally:
        server.close()
