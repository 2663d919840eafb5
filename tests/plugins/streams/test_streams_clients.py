"""Without a broker: what the plugin brings, and what it says where a client or a broker's name is missing."""

import subprocess
import sys
from contextlib import closing

import pytest
from router_sdk_streams import client

from router_sdk.errors import InvalidInputError, StreamUnavailableError
from router_sdk.exchange.streams import source_at
from router_sdk.plugins import PluginRegistry
from router_sdk.streams.address import Address

NEEDED = {"kafka": "confluent_kafka", "nats": "nats", "redis": "redis"}


@pytest.mark.parametrize("scheme", NEEDED)
def test_a_client_that_is_not_installed_is_named_with_what_to_install(scheme, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(client, "import_module", missing)
    registry = PluginRegistry.load()
    for kinds in (registry.sources, registry.sinks):
        with pytest.raises(InvalidInputError, match=rf"pip install 'router-sdk-streams\[{scheme}\]'"):
            kinds[scheme](Address.parse(f"{scheme}://localhost/x"))


def test_no_client_is_imported_before_one_is_needed():
    program = "import sys; from router_sdk.plugins import PluginRegistry as P; assert 'nats' in P.load().sources"
    loaded = f"; assert not {{*{list(NEEDED.values())}}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", program + loaded], check=True)


def test_without_the_plugin_its_schemes_say_what_to_install():
    with pytest.raises(InvalidInputError, match=r"pip install 'router-sdk-streams\[nats\]'"):
        source_at("nats://localhost/x", PluginRegistry())
    with pytest.raises(InvalidInputError, match=r"there are \['stdin'\]$"):
        source_at("carrierpigeon://loft/x", PluginRegistry())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kafka://a:9092,b:9092/my.topic?group=g", "kafka://a:9092,b:9092/my.topic"),
        ("redis://user:se%40cret@host:6379/2/key", "redis://host:6379/2/key"),
        ("NATS://host:4222", "nats://host:4222/agent-outcomes"),
        ("stdin:", "stdin:"),
    ],
)
def test_an_address_is_shown_without_what_is_nobodys_business(text, shown):
    address = Address.parse(text)
    assert str(address) == shown
    assert "cret" not in repr(address)
    if "user" in text:
        assert (address.user, address.password) == ("user", "se@cret")


@pytest.mark.parametrize(
    "text",
    [
        *("outcomes", "://x", "kafka://h/t?group=a&group=b", "kafka://h/t?group", "kafka://[h/t"),
        *("redis+tls://user:secret@host", "redis://user:[secret@h/x", "redis://user:[secret]@h/x"),
        *("kafka://h/t?sasl.secret", "kafka://user:a/secret@h/t", "kafka://user:a#secret@h/t", "redis://u:a?secret@h"),
    ],
)
def test_what_is_no_address_is_an_error_that_shows_no_password(text):
    with pytest.raises(InvalidInputError) as refused:
        Address.parse(text)
    assert "secret" not in str(refused.value)


def test_options_may_hold_a_password_that_is_shown_nowhere():
    address = Address.parse("kafka://h/t?sasl.password=secret")
    assert "secret" not in f"{address} {address!r}"


def test_options_that_cannot_be_meant_are_errors():
    registry = PluginRegistry.load()
    if (
        pytest.importorskip("redis", reason="the client of redis://")
        and pytest.importorskip("nats", reason="the client of nats://")
        and pytest.importorskip("confluent_kafka", reason="the client of kafka://")
    ):
        for text, words in (
            ("redis://h/x?claim_s=soon", "claim_s: expected a number"),
            ("redis://h/x?clam_s=1", "no option is called 'clam_s'; there are group, claim_s"),
            ("nats://h/x?ack_wait=0", "ack_wait: expected a number above 0"),
            ("kafka:///x", "name the brokers"),
        ):
            with pytest.raises(InvalidInputError, match=words):
                source_at(text, registry)


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("redis://[::1]:6380/x", ("::1", 6380), "::1:6380/0/x"),
        ("redis://[::1]/2/x", ("::1", 6379), "::1:6379/2/x"),
        ("redis:///x", ("localhost", 6379), "localhost:6379/0/x"),
        ("rediss://Cache/0/x", ("cache", 6379), "cache:6379/0/x"),
    ],
)
def test_a_redis_is_named_by_its_server_database_and_key(text, host, name):
    redis = pytest.importorskip("redis", reason="the client of redis://")
    from router_sdk_streams.redis import RedisSource

    connection = RedisSource(Address.parse(text))._connection
    pool = connection.commands.connection_pool
    assert (pool.connection_kwargs["host"], pool.connection_kwargs["port"], connection.name) == (*host, name)
    assert issubclass(pool.connection_class, redis.SSLConnection) == text.startswith("rediss")


@pytest.mark.parametrize("hosts", ["h:port", "h:99999", "user:se"])
def test_what_is_no_port_is_an_error_that_shows_nothing(hosts):
    pytest.importorskip("redis", reason="the client of redis://")
    with pytest.raises(InvalidInputError, match="expected one HOST:PORT") as refused:
        source_at(f"redis://{hosts}/x", PluginRegistry.load())
    assert hosts not in str(refused.value)


def test_a_message_of_kafka_is_kept_where_fetching_more_fails():
    kafka = pytest.importorskip("confluent_kafka", reason="the client of kafka://")
    from router_sdk_streams.kafka import KafkaSource

    class First:
        """One message, and a fault behind it."""

        came = [kafka.Message(topic="x", partition=0, offset=7, value=b"{}")]

        def consume(self, most, within_s):
            if self.came:
                return [self.came.pop()]
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._FATAL, "broken"))

    source = KafkaSource(Address.parse("kafka://h:1/x"))
    source._consumer = First()
    assert [one.position for one in source.poll(10, 0.1)] == [7]
    with pytest.raises(StreamUnavailableError, match="broken"):
        source.poll(10, 0.1)


@pytest.mark.parametrize("scheme", NEEDED)
def test_a_broker_that_is_away_is_named_with_what_to_do(scheme, monkeypatch, caplog):
    module = pytest.importorskip(f"router_sdk_streams.{scheme}")
    pytest.importorskip(NEEDED[scheme], reason=f"the client of {scheme}://")
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
    caplog.set_level("INFO", "router_sdk_streams")
    registry = PluginRegistry.load()
    with closing(source_at(f"{scheme}://user:secret@127.0.0.1:1/x?group=g", registry)) as source:
        for ask in (source.check, source.lag):
            with pytest.raises(StreamUnavailableError) as away:
                ask()
            assert str(away.value).startswith(f"{scheme}://127.0.0.1:1 cannot be reached (")
            assert "start the broker, or correct HOST:PORT" in str(away.value)
            assert "secret" not in str(away.value)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == [], "it is said once, by whoever asks"


def test_what_librdkafka_says_is_logged_and_its_errors_are_news_alone(caplog):
    from router_sdk_streams.kafka import _ClientLog

    caplog.set_level("DEBUG", "router_sdk_streams")
    for level in (10, 20, 30, 40, 50):
        _ClientLog().log(level, "%s [%s] %s", "FAIL", "rdkafka#1", "Connection refused")
    assert [one.levelname for one in caplog.records] == ["DEBUG", "INFO", "WARNING", "INFO", "INFO"]
    assert {one.getMessage() for one in caplog.records} == {"FAIL [rdkafka#1] Connection refused"}


def test_nats_over_tls_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="for NATS over TLS write nats://"):
        source_at("tls://localhost:4222/x", PluginRegistry())
