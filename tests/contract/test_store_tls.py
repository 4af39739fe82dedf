"""The store by TLS with certificates of both sides: one server, and every node of a cluster."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from benchmarks._ports import free_port
from config.errors import StoreIncompatible
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_store import RedisStore
from tests.contract.example_store import fill
from tests.contract.redis_servers import Cluster, Server, await_true, raw
from tests.contract.tls_front import TlsFront
from tests.contract.worlds import PATIENCE
from tests.integration.kafka_world import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The TLS port of a server with a user and a password."""
    server = Server(tmp_path_factory.mktemp("server"), free_port())
    try:
        server.client.execute_command("ACL", "SETUSER", "tideline", "on", ">s3cret", "~*", "+@all")
        with front(certificates, server.port) as before:
            yield before.port
    finally:
        server.stop()


def front(certificates: Certificates, port: int, host: str = "127.0.0.1") -> TlsFront:
    certificate, key = certificates.make("server")
    return TlsFront(port, ca=certificates.ca, certificate=certificate, key=key, host=host)


def options(certificates: Certificates, *, ca: Path | None = None) -> str:
    certificate, key = certificates.make("client")
    return f"?ssl_ca_certs={ca or certificates.ca}&ssl_certfile={certificate}&ssl_keyfile={key}"


def works(url: str) -> None:
    with closing(RedisStore(url, patience=PATIENCE)) as store:
        fill(store)
    with closing(RedisReader(url)) as reader:
        assert sorted(reader.members("orders_7d.high")) == ["ann", "bob"]
        assert [info.number for info in reader.shard_infos()] == [1, 1, 2, 1]


def test_a_server_is_talked_to_with_both_certificates_and_a_login(certificates: Certificates, port: int) -> None:
    works(f"rediss://tideline:s3cret@127.0.0.1:{port}/0{options(certificates)}")


@contextmanager
def asking_for_a_certificate(certificates: Certificates) -> Iterator[int]:
    """The port of one who says what it misses, and waits until that was heard."""
    certificate, key = certificates.make("server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            plain, _ = listening.accept()
            with tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as line:
                with pytest.raises(ssl.SSLError, match="did not return a certificate"):
                    line.do_handshake()
                with socket.socket(fileno=line.detach()) as rest:
                    rest.shutdown(socket.SHUT_WR)
                    while rest.recv(65_536):
                        pass

        server = threading.Thread(target=serve)
        server.start()
        yield listening.getsockname()[1]
        server.join(10.0)


def test_without_a_certificate_of_its_own_a_client_is_told_at_once(certificates: Certificates) -> None:
    refused = pytest.raises(StoreIncompatible, match=r"(?i)by TLS.*certificate.required")
    with asking_for_a_certificate(certificates) as port, refused:
        RedisStore(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificates.ca}", patience=PATIENCE)


def test_a_server_that_nobody_vouches_for_is_refused(certificates: Certificates, port: int, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path)
    for url in (
        f"rediss://tideline:s3cret@127.0.0.1:{port}{options(certificates, ca=stranger.ca)}",
        f"rediss+cluster://tideline:s3cret@127.0.0.1:{port}{options(certificates, ca=stranger.ca)}",
        f"rediss+sentinel://tideline:s3cret@127.0.0.1:{port}/shop{options(certificates, ca=stranger.ca)}",
    ):
        with pytest.raises(StoreIncompatible, match=r"TLS.*certificate verify failed") as refused:
            RedisStore(url, patience=PATIENCE)
        assert "s3cret" not in str(refused.value)


def test_a_certificate_for_another_name_is_refused(certificates: Certificates, port: int) -> None:
    with front(certificates, port, "127.0.0.2") as other:
        url = f"rediss://127.0.0.2:{other.port}{options(certificates)}"
        with pytest.raises(StoreIncompatible, match=r"TLS.*IP address mismatch"):
            RedisStore(url, patience=PATIENCE)


def test_every_node_of_a_cluster_is_talked_to_by_tls(certificates: Certificates, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster, ExitStack() as stack:
        fronts = [stack.enter_context(front(certificates, node.port)) for node in cluster.nodes]
        for node, before in zip(cluster.nodes, fronts, strict=True):
            node.client.config_set("cluster-announce-port", before.port)
        ports = {before.port for before in fronts}
        await_true(lambda: all(told_ports(node) == ports for node in cluster.nodes), "nodes that tell their TLS ports")
        works(f"rediss+cluster://127.0.0.1:{fronts[0].port}{options(certificates)}")
        assert all(raw(node, "DBSIZE") for node in cluster.nodes)


def told_ports(node: Server) -> set[int]:
    return {int(primary[1]) for _, _, primary, *_ in raw(node, "CLUSTER", "SLOTS")}
