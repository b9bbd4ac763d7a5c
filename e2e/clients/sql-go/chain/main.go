// Goroutines, on net/http and pgx: `chain-go PORT GOES_ON POSTGRES PASSWORD`. `/go/N` asks PostgreSQL over a connection of its own, then
// Java for `/java/N` over those that net/http keeps.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	config, err := pgx.ParseConfig(fmt.Sprintf("postgres://go:%s@127.0.0.1:%s/shop?sslmode=disable", os.Args[4], os.Args[3]))
	must(err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	http.HandleFunc("/go/", func(w http.ResponseWriter, r *http.Request) {
		number, ctx := strings.Split(r.URL.Path, "/")[2], context.Background()
		fmt.Println("answered", number)
		link, err := pgx.ConnectConfig(ctx, config)
		must(err)
		var port int
		must(link.QueryRow(ctx, "SELECT inet_client_port()").Scan(&port))
		fmt.Println("asked", number, port)
		must(link.Close(ctx))
		time.Sleep(2 * time.Millisecond)
		answer, err := http.Get("http://127.0.0.1:" + os.Args[2] + "/java/" + number)
		must(err)
		defer answer.Body.Close()
		_, err = io.Copy(w, answer.Body)
		must(err)
	})
	must(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
