// Met by tests/contract/embedded_store/test_drivers.py: ClickHouse's JDBC driver, as DBeaver and Metabase use it.
import java.sql.*;
import java.util.*;

public class Client {
  static final String TYPES = """
      SELECT toUInt64(number) AS n, toString(number) AS s, toLowCardinality(toString(number % 2)) AS l,
        if(number = 1, NULL, toInt32(number)) AS i, [number, number + 1] AS a, toDateTime64('2026-11-27 12:00:00.123', 3, 'UTC') AS d,
        toDecimal64('1.5', 3) AS c, toUUID('00000000-0000-0000-0000-00000000000a') AS u FROM numbers(3) ORDER BY number""";

  static Connection connect(String user, Map<String, String> more) throws SQLException {
    var properties = new Properties();
    properties.put("user", user);
    properties.put("password", System.getenv("STORE_PASSWORD_" + user));
    properties.putAll(more);
    return DriverManager.getConnection("jdbc:clickhouse://" + System.getenv("STORE_ADDRESS") + "/tocsin", properties);
  }

  public static void main(String[] arguments) throws Exception {
    for (var user : List.of("analyst", "service"))
      for (var more : List.of(Map.<String, String>of(), Map.of("compress", "false"))) {
        try (var connection = connect(user, more)) {
          read(user, connection);
          browse(connection.getMetaData());
        }
      }
    var table = System.getenv("STORE_TABLE");
    try (var connection = connect("service", Map.of());
        var insert = connection.prepareStatement("INSERT INTO " + table + " VALUES (?, ?)")) {
      for (var number = 0; number < 100; number++) {
        insert.setInt(1, number);
        insert.setString(2, "it's " + number);
        insert.addBatch();
      }
      insert.executeBatch();
      try (var rows = connection.createStatement().executeQuery("SELECT count() FROM " + table)) {
        rows.next();
        System.out.println("inserted " + rows.getLong(1));
      }
    }
    try (var connection = connect("analyst", Map.of())) {
      connection.createStatement().execute("DROP TABLE " + table);
      System.out.println("dropped");
    } catch (SQLException refused) {
      System.out.println("refused " + refused.getMessage().contains("497"));
    }
  }

  static void read(String user, Connection connection) throws SQLException {
    System.out.println(user + " valid " + connection.isValid(5));
    var count = 0;
    try (var statement = connection.createStatement()) {
      statement.setQueryTimeout(30);
      statement.setMaxRows(1000);
      try (var rows = statement.executeQuery(TYPES)) {
        while (rows.next()) {
          for (var at = 1; at <= rows.getMetaData().getColumnCount(); at++) rows.getObject(at);
          count++;
        }
      }
    }
    try (var query = connection.prepareStatement("SELECT count() FROM numbers(10) WHERE number > ? AND 'it''s' = ?")) {
      query.setInt(1, 4);
      query.setString(2, "it's");
      try (var rows = query.executeQuery()) {
        rows.next();
        System.out.println("read " + count + " " + rows.getLong(1));
      }
    }
  }

  static void browse(DatabaseMetaData about) throws SQLException {
    var seen = 0;
    try (var rows = about.getSchemas()) { while (rows.next()) seen++; }
    try (var rows = about.getTables(null, "tocsin", "%", null)) { while (rows.next()) seen++; }
    try (var rows = about.getColumns(null, "tocsin", "%", "%")) { while (rows.next()) seen++; }
    try (var rows = about.getTypeInfo()) { while (rows.next()) seen++; }
    try (var rows = about.getTableTypes()) { while (rows.next()) seen++; }
    try (var rows = about.getFunctions(null, null, "%")) { while (rows.next()) seen++; }
    System.out.println("browsed " + (seen > 3) + " " + about.getDatabaseProductName());
  }
}
