// SQL clients in Java: `Sql KIND PORT PASSWORD`. The user is named after the kind, so that the server counts it apart.
//
// What each kind sends is written out in `e2e/src/clients/{mysql,postgres}.rs`; change both.

import java.io.StringReader;
import java.sql.*;
import org.postgresql.PGConnection;

public class Sql {
    public static void main(String[] args) throws Exception {
        String kind = args[0], port = args[1], password = args[2];
        switch (kind) {
            case "jdbc_mysql":
                mysql(kind, password, "jdbc:mysql://127.0.0.1:" + port + "/shop?sslMode=DISABLED&cachePrepStmts=true");
                break;
            case "jdbc_mariadb":
                mysql(kind, password, "jdbc:mariadb://127.0.0.1:" + port + "/shop?sslMode=disable");
                break;
            case "jdbc_postgres": postgres(kind, password, port); break;
            default: throw new IllegalArgumentException(kind);
        }
    }

    interface Call { void run() throws SQLException; }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError("not so: " + what);
    }

    static void refused(String state, Call call) {
        try {
            call.run();
        } catch (SQLException error) {
            check(state.equals(error.getSQLState()), error + " is " + state);
            return;
        }
        throw new AssertionError("no error " + state);
    }

    static void insert(Connection link, int first, int count) throws SQLException {
        try (PreparedStatement insert = link.prepareStatement("INSERT INTO item (id, name) VALUES (?, ?)")) {
            for (int at = first; at < first + count; at++) {
                insert.setInt(1, at);
                insert.setString(2, "name " + at);
                insert.executeUpdate();
            }
        }
    }

    static void select(Connection link, int count) throws SQLException {
        try (PreparedStatement select = link.prepareStatement("SELECT name FROM item WHERE id = ?")) {
            for (int at = 0; at < count; at++) {
                select.setInt(1, at % 10);
                try (ResultSet rows = select.executeQuery()) { check(rows.next(), "a row"); }
            }
        }
    }

    /** Many executes that the driver sends before it reads the first answer. */
    static void batch(Connection link, int first, int count) throws SQLException {
        try (PreparedStatement update = link.prepareStatement("UPDATE item SET name = ? WHERE id = ?")) {
            for (int at = 0; at < count; at++) {
                update.setString(1, "batch");
                update.setInt(2, first + at);
                update.addBatch();
            }
            update.executeBatch();
        }
    }

    static void mysql(String kind, String password, String url) throws Exception {
        url += "&useServerPrepStmts=true&allowMultiQueries=true";
        try (Connection link = DriverManager.getConnection(url, kind, password); Statement plain = link.createStatement()) {
            plain.execute("TRUNCATE TABLE item");
            insert(link, 0, 10);
            select(link, 25);
            batch(link, 0, 40);
            refused("23000", () -> insert(link, 7, 1));
            refused("42000", () -> plain.execute("SELECT FROM WHERE"));
            refused("42S02", () -> plain.execute("SELECT * FROM nowhere"));
            link.setAutoCommit(false);
            plain.executeUpdate("DELETE FROM item WHERE id = 1");
            link.rollback();
            plain.executeUpdate("DELETE FROM item WHERE id = 2");
            link.commit();
            link.setAutoCommit(true);
            plain.execute("SELECT 1; SELECT 2");
            while (plain.getMoreResults() || plain.getUpdateCount() != -1);
            plain.setFetchSize(100);
            int count = 0;
            try (ResultSet rows = plain.executeQuery("SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000")) {
                while (rows.next()) count++;
            }
            check(count == 10000, "all rows");
            for (int at = 0; at < 3; at++) check(link.isValid(5), "alive");
        }
    }

    static void postgres(String kind, String password, String port) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + port + "/shop?prepareThreshold=3&sslmode=disable";
        try (Connection link = DriverManager.getConnection(url, kind, password); Statement plain = link.createStatement()) {
            plain.execute("TRUNCATE TABLE item");
            insert(link, 0, 10);
            select(link, 25);
            batch(link, 0, 40);
            refused("23505", () -> insert(link, 7, 1));
            refused("42601", () -> plain.execute("SELECT FROM WHERE"));
            refused("42P01", () -> plain.execute("SELECT * FROM nowhere"));
            link.setAutoCommit(false);
            plain.executeUpdate("DELETE FROM item WHERE id = 1");
            link.rollback();
            plain.executeUpdate("DELETE FROM item WHERE id = 2");
            link.commit();
            // Through a portal, a hundred rows at a time.
            plain.setFetchSize(100);
            int count = 0;
            try (ResultSet rows = plain.executeQuery("SELECT at FROM generate_series(1, 250) AS at")) {
                while (rows.next()) count++;
            }
            check(count == 250, "all rows");
            link.commit();
            link.setAutoCommit(true);
            plain.setFetchSize(0);
            try (ResultSet rows = plain.executeQuery("SELECT at, repeat('x', 200) FROM generate_series(1, 10000) AS at")) {
                for (count = 0; rows.next(); count++);
            }
            check(count == 10000, "all rows");
            // Two statements under one Sync.
            plain.execute("SELECT 1; UPDATE item SET name = 'c' WHERE id = 3");
            long copied = link.unwrap(PGConnection.class).getCopyAPI()
                .copyIn("COPY item (id, name) FROM STDIN", new StringReader("1000\tx\n1001\ty\n"));
            check(copied == 2, "two rows copied");
        }
    }
}
