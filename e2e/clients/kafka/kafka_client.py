"""A client on librdkafka. Reads commands from standard input, see ../README.md."""

import json
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TICK_MS = 50


class Statistics:
    """Requests sent by API, by the library's own count; it reports them every TICK_MS."""

    def __init__(self):
        self.reports, self.brokers, self.sent, self.waiting = 0, {}, {}, 0

    def __call__(self, text):
        report = json.loads(text)
        self.reports, self.sent, self.waiting = self.reports + 1, {}, 0
        # The library leaves a bootstrap broker out of its reports once it knows it by its number: what it said last counts.
        # What it sent to it after that report nobody learns.
        self.brokers |= {name: broker["req"] for name, broker in report["brokers"].items()}
        for requests in self.brokers.values():
            for api, count in requests.items():
                self.sent[api] = self.sent.get(api, 0) + count
        self.waiting = sum(broker["waitresp_cnt"] + broker["outbuf_cnt"] for broker in report["brokers"].values())

    def settle(self, poll):
        """Waits until nothing is under way and a second report says the same as the first."""
        last, same = None, 0
        while same < 4:
            seen = self.reports
            while self.reports == seen:
                poll(TICK_MS / 1000)
            same = same + 1 if self.sent == last and self.waiting == 0 else 0
            last = dict(self.sent)

    def tell(self):
        for api, count in sorted(self.sent.items()):
            if count:
                print("sent", api, count)


def settings(servers, statistics, **more):
    common = {
        "bootstrap.servers": servers,
        "statistics.interval.ms": TICK_MS,
        "stats_cb": statistics,
        # Nothing by the clock: what is sent follows from the commands alone.
        "topic.metadata.refresh.interval.ms": 600_000,
        "enable.metrics.push": False,
    }
    return common | {key.replace("_", "."): value for key, value in more.items()}


class Client:
    def __init__(self, servers):
        self.servers, self.producers, self.consumer = servers, {}, None

    def create(self, topic, *config):
        admin = AdminClient({"bootstrap.servers": self.servers})
        new = NewTopic(topic, num_partitions=1, config=dict(pair.split("=") for pair in config))
        admin.create_topics([new])[topic].result()

    def produce(self, topic, count, acks, size):
        """Sends so many messages of so many bytes, each in a batch and so in a request of its own."""
        if acks not in self.producers:
            statistics = Statistics()
            more = settings(self.servers, statistics, acks=acks, linger_ms=0, batch_num_messages=1, retries=0)
            self.producers[acks] = (Producer(more), statistics)
        producer, statistics = self.producers[acks]
        failed = lambda error, _: error and print("failed", error.name())
        for _ in range(int(count)):
            producer.produce(topic, b"x" * int(size), on_delivery=failed)
        producer.flush()
        statistics.settle(producer.poll)
        statistics.tell()

    def consume(self, topic, group, count):
        """Reads so many messages as a member of a group, commits, and is silent from then on."""
        if not self.consumer:
            self.statistics = Statistics()
            more = settings(self.servers, self.statistics, group_id=group, auto_offset_reset="earliest",
                            enable_auto_commit=False, fetch_wait_max_ms=100, fetch_message_max_bytes=1_000,
                            heartbeat_interval_ms=30_000, session_timeout_ms=120_000)
            self.consumer = Consumer(more)
            self.consumer.subscribe([topic])
        consumer, taken = self.consumer, 0
        if consumer.assignment():
            consumer.resume(consumer.assignment())
        while taken < int(count):
            message = consumer.poll(0.2)
            taken += message is not None and message.error() is None
        consumer.commit(asynchronous=False)
        consumer.pause(consumer.assignment())
        self.statistics.settle(consumer.poll)
        print("taken", taken)
        self.statistics.tell()

    def close(self):
        if self.consumer:
            self.consumer.close()


client = Client("127.0.0.1:" + sys.argv[1])
for line in sys.stdin:
    command, *arguments = line.split()
    getattr(client, command)(*arguments)
    print("done", flush=True)
