import com.sun.net.httpserver.HttpServer;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.util.TreeMap;
import javax.management.MBeanServer;
import javax.management.ObjectName;

/**
 * Says over HTTP what a Kafka broker counts about itself: its own MBeans, read inside its own process (as a Java agent), because
 * remote JMX would listen on all addresses. Lines are KIND API WHAT COUNT:
 *
 *     request Produce 11 7        RequestMetrics RequestsPerSec, by API and version
 *     error Produce NONE 7        RequestMetrics ErrorsPerSec, by API and error
 *     topic Produce orders 7      BrokerTopicMetrics TotalProduceRequestsPerSec, by topic
 */
public class BrokerCounts {
    public static void premain(String port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(port)), 16);
        server.createContext("/count", exchange -> {
            byte[] body;
            try {
                body = counts().getBytes();
            } catch (Exception error) {
                body = error.toString().getBytes();
            }
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }

    private static String counts() throws Exception {
        TreeMap<String, Long> lines = new TreeMap<>();
        MBeanServer beans = ManagementFactory.getPlatformMBeanServer();
        for (ObjectName name : beans.queryNames(new ObjectName("kafka.*:*"), null)) {
            String line = switch (String.valueOf(name.getKeyProperty("name"))) {
                case "RequestsPerSec" -> line("request", name, "version");
                case "ErrorsPerSec" -> line("error", name, "error");
                case "TotalProduceRequestsPerSec" -> "topic Produce " + name.getKeyProperty("topic");
                default -> null;
            };
            if (line != null && !line.endsWith(" null")) {
                lines.merge(line, (Long) beans.getAttribute(name, "Count"), Long::sum);
            }
        }
        StringBuilder text = new StringBuilder();
        lines.forEach((line, count) -> text.append(line).append(' ').append(count).append('\n'));
        return text.toString();
    }

    private static String line(String kind, ObjectName name, String key) {
        return kind + " " + name.getKeyProperty("request") + " " + name.getKeyProperty(key);
    }
}
