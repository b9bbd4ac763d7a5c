package main

import (
	"fmt"
	"log"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// web answers plain HTTP: HTTP/1.1, HTTP/2 by upgrade from it, and HTTP/2 by prior knowledge. `/big` is 100 kB, `/gone` is 404,
// everything else a few bytes. Prints `PROTOCOL METHOD TARGET STATUS` for each request that a handler sees; the one that is
// upgraded is seen once, as the first stream.
func web(address string) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := http.StatusOK, "answer\n"
		switch r.URL.Path {
		case "/big":
			body = strings.Repeat("b", 102_400)
		case "/gone":
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		fmt.Println(r.Proto, r.Method, r.RequestURI, status)
	})
	server := http.Server{Addr: address, Handler: h2c.NewHandler(handler, &http2.Server{})}
	log.Fatal(server.ListenAndServe())
}
