// SQL clients in Go: `sql KIND PORT PASSWORD`. The user is named after the kind, so that the server counts it apart.
//
// What each kind sends is written out in `e2e/src/clients/{mysql,postgres}.rs`; change both.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	kind, port, password := os.Args[1], os.Args[2], os.Args[3]
	switch kind {
	case "gomysql":
		gomysql(fmt.Sprintf("%s:%s@tcp(127.0.0.1:%s)/shop?multiStatements=true", kind, password, port))
	case "pgx":
		gopgx(fmt.Sprintf("postgres://%s:%s@127.0.0.1:%s/shop?sslmode=disable", kind, password, port))
	default:
		panic(kind)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(holds bool, what string) {
	if !holds {
		panic("not so: " + what)
	}
}

func refused(code any, err error) {
	var ofMysql *mysql.MySQLError
	var ofPostgres *pgconn.PgError
	switch {
	case errors.As(err, &ofMysql):
		check(int(ofMysql.Number) == code, fmt.Sprintf("%v is %v", err, code))
	case errors.As(err, &ofPostgres):
		check(ofPostgres.Code == code, fmt.Sprintf("%v is %v", err, code))
	default:
		panic(fmt.Sprintf("no error %v: %v", code, err))
	}
}

func gomysql(place string) {
	// Without interpolation every statement with values is prepared, executed and closed.
	db, err := sql.Open("mysql", place)
	must(err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("TRUNCATE TABLE item")
	must(err)
	for at := 0; at < 20; at++ {
		_, err = db.Exec("INSERT INTO item (id, name) VALUES (?, ?)", at, fmt.Sprint("name ", at))
		must(err)
	}
	// Prepared once.
	byID, err := db.Prepare("SELECT name FROM item WHERE id = ?")
	must(err)
	for at := 0; at < 25; at++ {
		var name string
		must(byID.QueryRow(at % 20).Scan(&name))
	}
	must(byID.Close())
	_, err = db.Exec("INSERT INTO item (id, name) VALUES (?, ?)", 7, "again")
	refused(1062, err)
	_, err = db.Exec("INSERT INTO item (id, name) VALUES (7, 'again')")
	refused(1062, err)
	_, err = db.Exec("SELECT * FROM nowhere WHERE id = ?", 1)
	refused(1146, err)
	_, err = db.Exec("SELECT FROM WHERE")
	refused(1064, err)
	for at := 0; at < 10; at++ {
		_, err = db.Exec(fmt.Sprintf("UPDATE item SET name = 'other' WHERE id = %d", at))
		must(err)
	}
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		tx, err := db.Begin()
		must(err)
		_, err = tx.Exec("DELETE FROM item WHERE id = ?", 1)
		must(err)
		must(end(tx))
	}
	for at := 0; at < 3; at++ {
		must(db.Ping())
	}
	rows, err := db.Query("SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000")
	must(err)
	count := 0
	for rows.Next() {
		count++
	}
	must(rows.Close())
	check(count == 10000, "all rows")
	_, err = db.Exec("UPDATE item SET name = 'c' WHERE id = 3; DELETE FROM item WHERE id = 4")
	must(err)
	must(db.Close())
}

func gopgx(place string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, place)
	must(err)
	_, err = conn.Exec(ctx, "TRUNCATE TABLE item")
	must(err)
	// Prepared and described the first time, under a name of the driver's.
	for at := 0; at < 20; at++ {
		_, err = conn.Exec(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", at, fmt.Sprint("name ", at))
		must(err)
	}
	_, err = conn.Prepare(ctx, "by id", "SELECT name FROM item WHERE id = $1")
	must(err)
	for at := 0; at < 25; at++ {
		var name string
		must(conn.QueryRow(ctx, "by id", at%20).Scan(&name))
	}
	// Without a name, described first, and in the simple protocol.
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		for at := 0; at < 10; at++ {
			_, err = conn.Exec(ctx, "UPDATE item SET name = 'other' WHERE id = $1", mode, at)
			must(err)
		}
	}
	_, err = conn.Exec(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", 7, "again")
	refused("23505", err)
	_, err = conn.Exec(ctx, "SELECT FROM WHERE")
	refused("42601", err)
	_, err = conn.Exec(ctx, "SELECT * FROM nowhere WHERE id = $1", 1)
	refused("42P01", err)
	// Many requests under one Sync.
	batch := &pgx.Batch{}
	for at := 0; at < 12; at++ {
		batch.Queue("SELECT name FROM item WHERE id = $1", at)
		batch.Queue("DELETE FROM item WHERE id = $1", 1000+at)
	}
	must(conn.SendBatch(ctx, batch).Close())
	for _, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Commit(ctx) }, func(tx pgx.Tx) error { return tx.Rollback(ctx) },
	} {
		tx, err := conn.Begin(ctx)
		must(err)
		_, err = tx.Exec(ctx, "DELETE FROM item WHERE id = $1", 1)
		must(err)
		must(end(tx))
	}
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"item"}, []string{"id", "name"}, pgx.CopyFromSlice(3000, func(at int) ([]any, error) {
		return []any{2000 + at, "copied"}, nil
	}))
	must(err)
	check(copied == 3000, "all copied")
	must(conn.Ping(ctx))
	rows, err := conn.Query(ctx, "SELECT at, repeat('x', 200) FROM generate_series(1, 10000) AS at")
	must(err)
	count := 0
	for rows.Next() {
		count++
	}
	must(rows.Err())
	check(count == 10000, "all rows")
	must(conn.Close(ctx))
}
