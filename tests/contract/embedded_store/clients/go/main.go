// Met by tests/contract/embedded_store/test_drivers.py: what Grafana's plugin does, by its own driver, over HTTP.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const types = `SELECT toUInt64(number) AS n, toString(number) AS s, toLowCardinality(toString(number % 2)) AS l,
	if(number = 1, NULL, toInt32(number)) AS i, [number, number + 1] AS a, map('k', number) AS m, (number, 'x') AS t,
	toDateTime64('2026-11-27 12:00:00.123', 3, 'UTC') AS d, toDecimal64('1.5', 3) AS c, toUUID('00000000-0000-0000-0000-00000000000a') AS u,
	CAST('a', 'Enum8(\'a\' = 1)') AS e, toFixedString('ab', 2) AS f, CAST([], 'Array(LowCardinality(Nullable(String)))') AS z, now() - now() AS w
	FROM numbers(3) ORDER BY number`

func check(what string, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %v\n", what, err)
		os.Exit(1)
	}
}

func connect(user string, method clickhouse.CompressionMethod, settings clickhouse.Settings) driver.Conn {
	connection, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Getenv("STORE_ADDRESS")},
		Auth:        clickhouse.Auth{Database: "tocsin", Username: user, Password: os.Getenv("STORE_PASSWORD_" + user)},
		Protocol:    clickhouse.HTTP,
		Compression: &clickhouse.Compression{Method: method, Level: 3},
		Settings:    settings,
		DialTimeout: 10 * time.Second,
	})
	check("open", err)
	return connection
}

func read(ctx context.Context, connection driver.Conn) {
	rows, err := connection.Query(ctx, types)
	check("query", err)
	count := 0
	for rows.Next() {
		columns := rows.ColumnTypes()
		values := make([]any, len(columns))
		for at, column := range columns {
			values[at] = reflect.New(column.ScanType()).Interface()
		}
		check("scan", rows.Scan(values...))
		count++
	}
	check("rows", rows.Err())
	var sum uint64
	check("row", connection.QueryRow(ctx, "SELECT sum(number) FROM numbers(200000) WHERE number != ?", 7).Scan(&sum))
	var empty uint64
	check("no rows", connection.QueryRow(ctx, "SELECT count() FROM (SELECT 1 AS a WHERE a = 0)").Scan(&empty))
	fmt.Println("read", count, sum, empty)
}

func main() {
	ctx := context.Background()
	for _, user := range []string{"analyst", "service"} {
		for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP} {
			connection := connect(user, method, clickhouse.Settings{"max_execution_time": 60})
			check("ping", connection.Ping(ctx))
			version, err := connection.ServerVersion()
			check("version", err)
			fmt.Println(user, method, version.Version.Major > 20)
			read(ctx, connection)
			check("close", connection.Close())
		}
	}
	connection := connect("service", clickhouse.CompressionLZ4, nil)
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+os.Getenv("STORE_TABLE"))
	check("prepare", err)
	for number := range 1000 {
		check("append", batch.Append(uint32(number), fmt.Sprint(number)))
	}
	check("send", batch.Send())
	var count uint64
	check("count", connection.QueryRow(ctx, "SELECT count() FROM "+os.Getenv("STORE_TABLE")).Scan(&count))
	fmt.Println("inserted", count)
	err = connect("analyst", clickhouse.CompressionNone, nil).Exec(ctx, "DROP TABLE "+os.Getenv("STORE_TABLE"))
	fmt.Println("refused", err != nil)
}
