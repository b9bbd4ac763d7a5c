import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;

/** A client on Kafka's own Java library. Reads commands from standard input, see ../README.md. */
public class KafkaClient {
    private final String servers;
    private final Map<String, KafkaProducer<String, String>> producers = new TreeMap<>();
    private KafkaConsumer<String, String> consumer;

    private KafkaClient(String servers) {
        this.servers = servers;
    }

    public static void main(String[] args) throws Exception {
        KafkaClient client = new KafkaClient("127.0.0.1:" + args[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            client.obey(line.split(" "));
            System.out.println("done");
        }
        System.exit(0);
    }

    private void obey(String[] word) throws Exception {
        switch (word[0]) {
            case "produce" -> produce(word[1], Integer.parseInt(word[2]), word[3], Integer.parseInt(word[4]));
            case "consume" -> consume(word[1], word[2], Integer.parseInt(word[3]));
            case "close" -> close();
            default -> throw new IllegalArgumentException(word[0]);
        }
    }

    private static Properties settings(String servers, String... more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        // Nothing by the clock: what is sent follows from the commands alone.
        settings.put("metadata.max.age.ms", "600000");
        settings.put("enable.metrics.push", "false");
        for (String side : List.of("key", "value")) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        for (int at = 0; at < more.length; at += 2) settings.put(more[at], more[at + 1]);
        return settings;
    }

    /** Sends so many records of so many bytes, each in a batch and so in a request of its own. */
    private void produce(String topic, int count, String acks, int size) throws Exception {
        KafkaProducer<String, String> producer = producers.computeIfAbsent(acks, key -> new KafkaProducer<>(settings(
            servers, "acks", acks, "batch.size", "0", "linger.ms", "0", "retries", "0", "enable.idempotence", "false")));
        for (int at = 0; at < count; at++) {
            var sent = producer.send(new ProducerRecord<>(topic, "x".repeat(size)));
            try {
                if (size > 1_000) sent.get();
            } catch (ExecutionException error) {
                System.out.println("failed " + error.getCause().getClass().getSimpleName());
            }
        }
        producer.flush();
        tell("producer-metrics", producer.metrics(), "request-total", "requests");
        tell("producer-metrics", producer.metrics(), "record-send-total", "Produce");
    }

    /** Reads so many records as a member of a group, commits, and is silent from then on. */
    private void consume(String topic, String group, int count) throws Exception {
        if (consumer == null) {
            consumer = new KafkaConsumer<>(settings(servers, "group.id", group, "auto.offset.reset", "earliest",
                "enable.auto.commit", "false", "max.partition.fetch.bytes", "1000", "fetch.max.wait.ms", "100",
                "heartbeat.interval.ms", "30000", "session.timeout.ms", "120000"));
            consumer.subscribe(List.of(topic));
        }
        consumer.resume(consumer.assignment());
        int taken = 0;
        while (taken < count) taken += consumer.poll(Duration.ofMillis(200)).count();
        consumer.commitSync();
        consumer.pause(consumer.assignment());
        // The request that waits at the broker is answered within fetch.max.wait.ms.
        for (double last = -1; last != value("consumer-metrics", consumer.metrics(), "request-total"); ) {
            last = value("consumer-metrics", consumer.metrics(), "request-total");
            consumer.poll(Duration.ofMillis(400));
        }
        System.out.println("taken " + taken);
        tell("consumer-metrics", consumer.metrics(), "request-total", "requests");
        tell("consumer-fetch-manager-metrics", consumer.metrics(), "fetch-total", "Fetch");
        tell("consumer-coordinator-metrics", consumer.metrics(), "commit-total", "OffsetCommit");
    }

    private void close() {
        producers.values().forEach(KafkaProducer::close);
        if (consumer != null) consumer.close();
    }

    private static void tell(String group, Map<MetricName, ? extends Metric> metrics, String name, String as) {
        System.out.println("sent " + as + " " + (long) value(group, metrics, name));
    }

    /** Sum over the client's connections or topics, where a metric has no value for the whole. */
    private static double value(String group, Map<MetricName, ? extends Metric> metrics, String name) {
        return metrics.entrySet().stream()
            .filter(entry -> entry.getKey().group().equals(group) && entry.getKey().name().equals(name))
            .filter(entry -> entry.getKey().tags().size() == 1)
            .mapToDouble(entry -> (Double) entry.getValue().metricValue())
            .sum();
    }
}
