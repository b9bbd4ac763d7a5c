import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.util.Map;
import java.util.concurrent.Executors;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A pool of threads, on the JDK's HTTP server and Kafka's own client: {@code Pool PORT GOES_ON KAFKA}. {@code /java/N} sends to Kafka, by the
 * producer's own thread, and asks Node for {@code /node/N}, by the thread that took the request in.
 */
public class Pool {
    public static void main(String[] args) throws IOException {
        Map<String, Object> settings = Map.of("bootstrap.servers", "127.0.0.1:" + args[2], "acks", "1", "batch.size", "0",
            "linger.ms", "0", "retries", "0", "enable.idempotence", "false", "enable.metrics.push", "false");
        var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 512);
        server.createContext("/java/", exchange -> {
            String number = exchange.getRequestURI().getPath().split("/")[2];
            System.out.println("answered " + number);
            byte[] body;
            try {
                producer.send(new ProducerRecord<>("orders", number)).get();
                Thread.sleep(Integer.parseInt(number) % 4);
                var url = URI.create("http://127.0.0.1:" + args[1] + "/node/" + number).toURL();
                try (var answer = ((HttpURLConnection) url.openConnection()).getInputStream()) { body = answer.readAllBytes(); }
            } catch (Exception error) {
                throw new IOException(error);
            }
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
